"""
Conditions of SQL on names, which say the same as the regular expressions in ``names``.

PostgreSQL takes 40 µs for one of those with its lookahead and counted repetitions, and 1 µs for
what is here (measured): four seconds at 100,000 domains, several times a run.
"""

from __future__ import annotations

# Which names are too long is up to the pillar; the column odd answers it for any limit from here.
LONG_NAME = 100
_LONGEST_LABEL = 63
# Without a count in braces, which the templates of compose would have to have doubled.
_TOO_LONG = "[^.]" * (_LONGEST_LABEL + 1)


def served_domain(text: str) -> str:
    """
    The condition that a text is a name that OpenDKIM looks up: ``names.SERVED_DOMAIN``.

    text
        An expression of SQL.
    """
    return _condition(text, "^([a-z0-9_-]+[.])*[a-z0-9_-]*[a-z_-][a-z0-9_-]*$")


def served_selector(text: str) -> str:
    """The condition that a text is a selector: ``names.SERVED_SELECTOR``."""
    return _condition(text, "^([A-Za-z0-9_-]+[.])*[A-Za-z0-9_-]+$")


def odd_row(longest: int | str, of_text: str = "true") -> str:
    """
    The condition that a row of the table of keys is one to look at.

    longest
        More characters than this make a domain's name one. Text stands for an argument.
    of_text
        What else has to be so of an active key whose text begins as one that is odd.
    """
    # One of these is in every text that key_text.ODD_TEXT matches. The expression alone takes
    # PostgreSQL 16 µs a key (measured), so 1.6 s of each run at 100,000 keys.
    return f"""
        (public_key IS NULL AND state <> 'revoked')
        OR (state = 'active' AND ({of_text})
            AND (left(key, 1) IN ('.', '/') OR strpos(left(key, 120), 'IBAQK') > 0
                 OR strpos(left(key, 120), 'AgEBAo') > 0))
        OR (state = 'active' AND algorithm = 'rsa'
            AND (bits NOT BETWEEN 1024 AND 4096
                 OR right(public_key, 4) NOT IN ('AQAB', 'AQ==', 'AAE=')))
        OR selector IS NULL OR NOT {served_selector("selector::text")}
        OR domain IS NULL OR NOT {served_domain("domain")}
        OR length(domain) > {longest}
    """


def _condition(text: str, form: str) -> str:
    is_short = f"length({text}) <= {_LONGEST_LABEL} OR {text} !~ '{_TOO_LONG}'"
    return f"({text} ~ '{form}' AND ({is_short}))"
