"""What a row of the table of keys is worth, whoever wrote it."""

from ..names import domain_problem, is_served, row_name, selector_in_dns, selector_problem
from ..private_key import StoredKey


def row_problem(domain: str, selector: str, stored: StoredKey) -> str:
    """Return what is wrong with a row, which it names, and what to do; empty where nothing is."""
    found = [domain_problem(domain), selector_problem(selector)]
    if stored.private is None:
        found.append(f"the key {stored.problem}, so it does not sign; {stored.remedy}")
    else:
        found.append(on_weakness(stored.private.weakness))
    text = "; ".join(one for one in found if one)
    return f"{row_name(domain, selector)}: {text}" if text else ""


def on_weakness(weakness: str) -> str:
    """Return a clause on a key that verifiers may not like, or nothing."""
    return f"the key {weakness}; replace it with dkim.rotate" if weakness else ""


def is_row_found(domain: str, selector: str) -> bool:
    """Tell whether OpenDKIM finds a row by its domain, and verifiers its record by the selector."""
    return is_served(domain) and selector_in_dns(selector) is not None
