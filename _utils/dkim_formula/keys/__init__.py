"""
Keys: the desired keys, the keys in the table, and the generation of new keys.

Reading order: ``model``, ``desired``, ``comparison``; ``table`` (rows read), ``changes`` (rows
written), ``history``, ``completion`` (rows of other programs), ``odd_rows``; ``bulk_generation``,
``missing_keys``, ``known_domains``; ``commands``, which execution functions call. ``patterns``,
``refusals``, ``removed_domains`` and ``removed_domains_table`` can be read separately.
"""
