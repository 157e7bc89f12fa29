"""
Rotation as histories in memory, without a database: ``functional.rotation_model.histories``.

A thousand run always, the same each time; ``bin/test soak`` runs a hundred thousand new ones, and
hundreds against a real PostgreSQL (``functional/test_rotation_model.py``).
"""

import pytest
from functional.rotation_model.histories import keep_to_the_contract

pytestmark = pytest.mark.one_release


def test_a_thousand_histories_keep_to_the_contract():
    keep_to_the_contract(1000)
