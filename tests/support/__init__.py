"""
Shared code of the tests, the demo and the commands of ``bin/``.

The commands of ``bin/`` import modules that need the standard library only.
"""
