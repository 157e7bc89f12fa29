"""
PostgreSQL: the formula's objects and roles in the mail database, and what they are drawn from.

``presets`` and ``hosted`` read the mail database's own tables; ``tables``, ``triggers``,
``signing_table`` and ``views`` have the SQL of the formula's objects; ``adoption`` takes over a
table of keys that was made by the howto; ``schema`` plans and applies all of it. ``roles``,
``grants``, ``rights`` and ``public_rights`` say who may do what, ``access_lines`` who may log in.
``connection`` opens every session. Comments mark what the formula made, roles too.
"""
