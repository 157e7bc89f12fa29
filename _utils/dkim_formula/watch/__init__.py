"""
Watching: what a beacon tells of, and Prometheus.

Facts are the same for both: services and sockets at each beat, ``keys`` and ``names`` at intervals
of their own (``gathering``), kept in ``store`` in between. ``trouble`` judges them, ``news`` tells
what of it is new, ``exposition`` writes metrics.
"""
