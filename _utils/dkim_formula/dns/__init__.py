"""
DNS: desired records, checks of name servers, and publication of records.

Reading order: ``reply`` and ``query`` (questions to servers), ``zones``, ``verdict``, ``check``,
``checked``, ``serials``; ``desired``, ``managed_records``, ``steps``, ``planned``,
``providers/``, ``batches``, ``changes``, ``published``, ``removals``, ``publish``; ``awaited``,
``due_notice``, ``notice``, ``notify`` (records that a person publishes); ``delegations``;
``commands`` (what execution functions and states call).
"""
