"""
Jobs that a timer of systemd runs: metrics and due rotations, without Salt and without its master.

``saved.py`` keeps the settings of a job, ``jobs.py`` is what the timer starts, ``commands.py`` is
what the modules of Salt call.
"""
