"""
Benchmarks of the formula. Each figure is a ratio to a limit or a peer, measured in the same run.

``bin/bench`` runs them on a throw-away machine.
"""
