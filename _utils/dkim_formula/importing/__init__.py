"""
Reading what a file-based OpenDKIM signs with: its KeyTable, its SigningTable and its key files.

``data_set`` reads a table as opendkim(8) does, ``key_table`` and ``signing_table`` what stands in
it, ``material`` a private key, and ``selection`` tells which of the keys are to sign for whom.
Apart from reading the files that are named, nothing here touches the machine.
"""
