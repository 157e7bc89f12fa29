"""
The formula's objects, roles and access rules in PostgreSQL, and the mail database's domains.

``preset_recognition`` and ``hosted`` read the mail database's own tables. ``tables``, ``triggers``,
``signing_table_triggers`` and ``views`` contain the SQL of the formula's objects. ``adoption``
takes over a table of keys that was made with the howto (docs/database.md). ``schema`` plans and
applies all of these. ``roles``, ``grants``, ``writer_rights`` and ``public_rights`` decide who has
which rights, and ``access_lines`` who may log in. ``connection`` opens every session. COMMENT ON
marks the objects and roles that the formula made.
"""
