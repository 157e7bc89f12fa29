"""
Health checks with three outputs: the doctor's report, events and metrics.

``model.py`` defines the input and the output of a check. ``check_*.py`` hold the checks, and
``run.py`` holds their registry. ``selftest.py`` has the daemons sign ``trial_messages.py``.
"""
