"""
DNS providers: the methods to read and change the records of zones.

In reading order: ``provider`` (the base classes), ``rfc2136``, ``octodns`` with its process
``octodns_plan`` (and ``octodns_metadata``, ``octodns_errors``), ``command``.
"""
