"""
The import of keys from other programs that sign mail, and the export of a key.

``sources`` lists the programs. Each program has its own reader: ``opendkim``, ``postfixadmin``,
``modoboa``, ``amavisd`` (with ``amavisd_config`` and ``amavisd_lookup``, the choice of a key), and
``rspamd`` (with ``rspamd_config``, ``ucl``, the syntax of its configuration, ``rspamd_paths`` and
``registered_domains``). A reader returns a ``Held`` (``held``), which has the form of OpenDKIM's
two tables. ``data_set`` reads a table as opendkim(8) does. ``key_table`` and ``signing_table``
parse its rows. ``selection`` decides which key signs for which domain or address. ``plan`` compares
these keys with the database, and ``commands`` stores them. ``first_keys`` lists the domains whose
first key waits for its record. The readers change nothing.
``key_folder`` reads the key files that a program names. ``export`` writes one key to a new file.
"""
