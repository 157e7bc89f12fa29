"""
SQL conditions on names, equivalent to the regular expressions in ``names``.

PostgreSQL takes 40 µs to evaluate one of those expressions, with its lookahead and counted
repetitions, and 1 µs for a condition of this module (measured). At 100,000 domains the difference
is four seconds, several times a run.
"""

from __future__ import annotations

# The pillar sets which names are too long. The column odd is valid for any limit of 100 or more.
LONG_NAME = 100
_LONGEST_LABEL = 63
# Without a count in braces, because a template of sql.compose would need doubled braces.
_TOO_LONG = "[^.]" * (_LONGEST_LABEL + 1)


def served_domain(text: str) -> str:
    """
    Return the condition that a text is a name that OpenDKIM looks up: ``names.SERVED_DOMAIN``.

    text
        An SQL expression.
    """
    return _condition(text, "^([a-z0-9_-]+[.])*[a-z0-9_-]*[a-z_-][a-z0-9_-]*$")


def served_selector(text: str) -> str:
    """Return the condition that a text is a selector: ``names.SERVED_SELECTOR``."""
    return _condition(text, "^([A-Za-z0-9_-]+[.])*[A-Za-z0-9_-]+$")


def odd_row(longest: int | str, of_text: str = "true") -> str:
    """
    Return the condition that a row of the table of keys is odd, so that its text must be checked.

    longest
        A domain's name is odd if it has more characters. A string is an SQL argument.
    of_text
        A further condition on an active key whose text begins like an odd one.
    """
    # Each text that key_text.ODD_TEXT matches contains one of these strings. The expression alone
    # takes PostgreSQL 16 µs a key (measured), so 1.6 s of each run at 100,000 keys.
    return f"""
        (public_key IS NULL AND state <> 'revoked')
        OR (state = 'active' AND ({of_text})
            AND (left(key, 1) IN ('.', '/')
                 OR strpos(left(key COLLATE "C", 120), 'IBAQK') > 0
                 OR strpos(left(key COLLATE "C", 120), 'AgEBAo') > 0))
        OR (state = 'active' AND algorithm = 'rsa'
            AND (bits NOT BETWEEN 1024 AND 4096
                 OR right(public_key, 4) NOT IN ('AQAB', 'AQ==', 'AAE=')))
        OR selector IS NULL OR NOT {served_selector("selector::text")}
        OR domain IS NULL OR NOT {served_domain("domain")}
        OR length(domain) > {longest}
    """


def _condition(text: str, form: str) -> str:
    # A column of another program may have a collation that takes no regular expression.
    text = f'{text} COLLATE "C"'
    is_short = f"length({text}) <= {_LONGEST_LABEL} OR {text} !~ '{_TOO_LONG}'"
    return f"({text} ~ '{form}' AND ({is_short}))"
