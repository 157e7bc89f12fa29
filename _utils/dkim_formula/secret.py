"""A value that is carried but not shown."""


class Secret:
    """
    Holds a password or a TSIG secret. ``reveal()`` gives it; nothing else does: ``repr``, ``str``,
    ``format``, logging and tracebacks show ``<secret>``, and it can't be pickled or copied to JSON.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str):
        self._value = value

    def reveal(self) -> str:
        """The value itself, for the one call that needs it."""
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
