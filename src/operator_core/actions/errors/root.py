"""The root of the tree of errors."""

from typing import Any


def _rebuild(kind: type["ActionError"], data: dict[str, Any]) -> "ActionError":
    error = kind.__new__(kind)
    error.__dict__.update(data)
    return error


class ActionError(Exception):
    """Is the root of all errors of this library."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by attributes: errors cross process borders in worker pools."""
        return (_rebuild, (type(self), self.__dict__))
