"""
The library of the dkim formula: keys, records, settings, database, OpenDKIM, Postfix.

The library does not import Salt. Arguments are explicit, and results are plain values or small
frozen classes. Every error is a :class:`dkim_formula.errors.FormulaError`, whose text is for an
administrator and holds no secret. ``_modules`` and ``_states`` are thin adapters to the library.
"""
