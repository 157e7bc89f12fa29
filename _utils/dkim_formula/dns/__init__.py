"""
DNS: the records that have to be there, whether they are, and their publication.

In reading order: ``reply`` and ``query`` (questions to servers), ``zones``, ``verdict``, ``check``,
``checked``; ``desired``, ``steps``, ``planned``, ``providers/``, ``batches``, ``changes``,
``published``, ``publish``; ``commands``, which execution functions and states call.
"""
