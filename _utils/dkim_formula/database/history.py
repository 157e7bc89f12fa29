"""What the history knows of a selector."""

from .connection import compose
from .objects import names


def selector_used(connection, database, domain: str, selector: str) -> bool:
    """
    Whether the domain ever had a key with the selector, deleted ones included: a selector is not
    used twice, since a resolver or a receiver may still know the old record.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            compose(
                "SELECT EXISTS (SELECT FROM {history} WHERE domain = %s AND selector = %s)",
                **names(database),
            ),
            (domain, selector),
        )
        return cursor.fetchone()[0]
