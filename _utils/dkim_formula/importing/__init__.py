"""
Reading what other programs sign with: their keys, and whose mail each of them signs.

``sources`` knows the programs, each with a reader of its own: ``opendkim``, ``postfixadmin``,
``modoboa``, ``amavisd``, ``rspamd`` (with ``ucl``, the form of its configuration). What they read
is ``held`` in the form of OpenDKIM's two tables. ``data_set`` reads such a table as opendkim(8)
does, ``key_table`` and ``signing_table`` what stands in it, ``material`` a private key, and
``selection`` tells which of the keys are to sign for whom. Nothing here changes anything.
"""
