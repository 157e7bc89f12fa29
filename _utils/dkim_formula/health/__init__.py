"""
One set of health checks with three outputs: the doctor's report, events and metrics.

``model.py`` has what a check takes and yields, ``check_*.py`` has the checks, and ``run.py`` the
registry.
"""
