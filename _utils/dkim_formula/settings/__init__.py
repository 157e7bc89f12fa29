"""The pillar: its values are read, checked and completed with defaults."""

from .model import Settings
from .pillar import Reading, read

__all__ = ["Reading", "Settings", "read"]
