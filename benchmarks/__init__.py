"""
What the formula costs, each figure a ratio against a limit or a peer measured in the same run.

``bin/bench`` runs them on a throw-away machine.
"""
