"""
The rotation of keys, decided: from what is known to the next step, or to what it waits for.

Nothing here asks a database, DNS or a clock: docs/rotation.md is what it implements.
"""
