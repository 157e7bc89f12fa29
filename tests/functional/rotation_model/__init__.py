"""A world for the rotation to live in: DNS that lies, a clock that passes, and death at any point."""
