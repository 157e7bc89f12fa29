"""
Keys: which ones are desired, which ones the table holds, and how new ones are generated.

In reading order: ``model``, ``desired``, ``comparison``; ``table`` (rows read), ``changes`` (rows
written), ``completion`` (rows of the site's own tools), ``odd_rows``; ``generate``,
``generation_run``, ``known_domains``; ``commands``, which execution functions call. ``patterns``,
``refusals``, ``removed_domains`` and ``removed_domains_table`` stand by themselves.
"""
