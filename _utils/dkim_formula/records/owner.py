"""Owner names of records that stand below a domain."""

from .. import names
from ..errors import InvalidValue

TLS_RPT_PREFIX = "_smtp._tls"  # RFC 8460, section 3
MTA_STS_PREFIX = "_mta-sts"  # RFC 8461, section 3.1


def owner_name(prefix: str, domain: str, where: str = "domain") -> str:
    """
    ``prefix.domain``, without a trailing dot.

    Raises :class:`InvalidValue` where the domain is not one, or is too long to have such a record.
    """
    name = f"{prefix}.{names.owner_domain(domain, where)}"
    if len(name) > names.MAX_NAME:
        raise InvalidValue(
            where, name, f"is {len(name)} characters long", f"a name has {names.MAX_NAME} at most"
        )
    return name
