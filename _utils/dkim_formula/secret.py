"""Secrets: values that are never shown, and texts from which secrets are removed."""

import re

# People give secrets where none is expected: a key's text instead of its path, a TSIG secret
# instead of its key's name, a URL instead of a host. The shortest key, Ed25519 as PKCS#8, has 64
# characters of base64; a secret of 160 bits has 28. No domain or selector consists of so many such
# characters, and a path begins with a slash.
_BASE64 = re.compile(r"(?!/)([A-Za-z0-9+/\n]{27,}={1,2}\n*|[A-Za-z0-9+/\n]{40,})")
_URL_PASSWORD = re.compile(r"(://[^/@\s:]*:)[^/@\s]*@")


class Secret:
    """
    A password or a TSIG secret. Only ``reveal()`` returns the value: ``repr``, ``str``, ``format``,
    logging and tracebacks show ``<secret>``. The object can't be pickled or written as JSON.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str):
        self._value = value

    def reveal(self) -> str:
        """Return the value itself, for the one call that needs it."""
        return self._value

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format("<secret>", spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    __hash__ = None

    def __reduce__(self):
        raise TypeError("a secret is not serialised")


def without_secrets(text: str) -> str:
    """Return a text of another program; what looks like a key or a URL's password is hidden."""
    return _BASE64.sub("<secret>", without_url_password(text))


def without_url_password(text: str) -> str:
    """Return a text in which the passwords of URLs are hidden."""
    return _URL_PASSWORD.sub(r"\1<secret>@", text)


def is_secret_text(value: str) -> bool:
    """Return whether a value looks like a private key or a shared secret."""
    return "PRIVATE KEY-----" in value or bool(_BASE64.fullmatch(value))
