"""What the tests, the demo and the commands of ``bin/`` share. Standard library alone."""
