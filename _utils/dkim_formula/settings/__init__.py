"""The pillar: read, checked, and given back whole."""
