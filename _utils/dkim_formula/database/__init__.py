"""
The virtual-mail database: reaching it, its tables and views, roles, access files, and the keys.

What a state manages has three steps in each module here. ``look`` reads the present and gives a
frozen snapshot (``ABSENT`` is the snapshot of a machine where there is nothing yet), ``plan`` is
pure and says what would change, ``apply`` does it and gives the plan that it carried out. What is
announced under ``test=True`` is therefore what the run reports.
"""
