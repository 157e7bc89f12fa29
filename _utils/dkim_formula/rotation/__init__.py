"""
The rotation of keys: from what is known of the keys to the next moves, and to what keys wait for.

To read in this order: ``commands`` (what the modules of Salt call), ``run`` (observe, lock, read,
plan, apply, publish, observe, report), ``state``, ``plan``, ``new_keys`` and ``revoke`` (pure: what
a request comes to), ``gate`` (pure: evidence, and whether a key may move), ``timing`` (pure: every
time limit), ``observe``, ``apply``, ``disclosure``, ``report``, ``status``.
"""
