"""
What a caller can ask for, each one call with the settings: sessions are opened here, results are
plain data that Salt can return. ``_modules`` calls nothing else of the library for it.
"""
