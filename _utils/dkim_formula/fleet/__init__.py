"""Fleets of many machines: their roles, and the report of each host."""
