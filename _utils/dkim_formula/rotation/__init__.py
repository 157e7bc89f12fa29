"""
The rotation of keys: the next moves of keys, and what each key waits for.

Reading order: ``commands`` (what Salt's execution modules call), ``run`` (observe, lock, read,
plan, apply, publish, observe, report), ``state``, ``plan``, ``moves``, ``new_keys`` and ``revoke``
(pure: the moves of a request), ``gate`` (pure: evidence, and whether a key may move),
``due_dates`` and ``waiting_times`` (pure: every time limit), ``observe``, ``apply``,
``replicas`` and ``replica_replay`` (standby servers), ``disclosure``, ``report``,
``status``, ``urgency``.
"""
