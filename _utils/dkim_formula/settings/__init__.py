"""The pillar: read, checked, and given back whole."""

from .model import Settings
from .reading import Reading, read

__all__ = ["Reading", "Settings", "read"]
