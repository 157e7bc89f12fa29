"""
Rotation as histories in memory, without a database: ``functional.rotation_model.histories``.

Each run tests the same three hundred histories. ``bin/test soak`` tests a hundred thousand new
ones, and hundreds against a real PostgreSQL (``functional/rotation/test_rotation_model.py``).
"""

import pytest
from functional.rotation_model.histories import check_histories

pytestmark = pytest.mark.one_release


def test_hundreds_of_histories_obey_the_contract():
    check_histories(300)
