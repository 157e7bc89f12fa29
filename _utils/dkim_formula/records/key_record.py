"""Records that hold a key's public half. Source: RFC 6376, section 3.6.1."""

from .. import names
from ..private_key import check_algorithm
from ..record_names import key_record_name
from .record import Record


def key_record(
    domain: str,
    selector: str,
    algorithm: str,
    public_base64: str,
    *,
    strict: bool = True,
    testing: bool = False,
    revoked: bool = False,
    ttl: int = 3600,
) -> Record:
    """
    Return the key record of one key.

    domain, selector
        The domain and the selector of the key, in stored form.
    algorithm
        ``rsa`` or ``ed25519``.
    public_base64
        The public key from :meth:`dkim_formula.private_key.PrivateKey.public_base64`.
    strict
        ``t=s``: the domain in a signature's ``i=`` must be this domain, not one below it.
    testing
        ``t=y``: the domain tests DKIM, so verifiers treat its mail as unsigned.
    revoked
        ``p=`` is empty: the key must not be used any more.
    ttl
        Seconds.

    Raises :class:`dkim_formula.errors.InvalidValue` for an invalid name or algorithm.
    """
    flags = ":".join(flag for flag, is_set in (("y", testing), ("s", strict)) if is_set)
    tags = ["v=DKIM1", f"k={check_algorithm(algorithm)}"]
    if flags:
        tags.append(f"t={flags}")
    signing, erased = ("; ".join([*tags, f"p={p}"]) for p in (public_base64, ""))
    return Record(
        name=key_record_name(selector, domain),
        type="TXT",
        ttl=ttl,
        value=erased if revoked else signing,
        purpose="dkim",
        domain=names.owner_domain(domain),
        selector=selector,
        replaces=(signing,) if revoked and public_base64 else (),
    )
