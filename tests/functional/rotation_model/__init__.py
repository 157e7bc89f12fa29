"""A world for rotations: DNS that lies, a clock that is put back, and death at any point."""
