"""What is wrong on a machine, and what a person is to do about it."""
