"""Many machines: their roles, and what each of them says of itself."""
