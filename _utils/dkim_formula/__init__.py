"""
The library behind the dkim formula: keys, records, settings, database, OpenDKIM, Postfix.

Nothing here knows Salt. Arguments are explicit, results are plain values or small frozen classes,
and every error is a :class:`dkim_formula.errors.FormulaError` whose text is fit for an
administrator and holds no secret. ``_modules`` and ``_states`` are thin adapters to it.
"""
