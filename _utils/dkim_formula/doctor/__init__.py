"""
The whole chain, looked at as the user of each part would: each module has the checks of one part.

A check is a function of a :class:`dkim_formula.doctor.site.Site` that returns findings. Each runs
in a process of its own (:mod:`dkim_formula.doctor.child`), so that none can hang the others, and
none leaves anything behind.
"""
