"""A model of rotations: DNS that lies, a clock that is set back, and death at any point."""
