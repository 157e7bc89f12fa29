"""
Jobs that systemd timers run without Salt and its master: metrics, the report, due rotations.

``saved.py`` stores the settings of a job. ``jobs.py`` is the program that a timer starts.
``commands.py`` has the functions that Salt's modules call.
"""
