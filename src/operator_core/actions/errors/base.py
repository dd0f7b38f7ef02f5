"""The root of the error tree."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar

from operator_core.actions.text import printable


def _rebuild(kind: type["ActionError"], data: dict[str, Any]) -> "ActionError":
    error = kind.__new__(kind)
    error.__dict__.update(data)
    return error


def _shown(message: Callable[[Any], str]) -> Callable[[Any], str]:
    @wraps(message)
    def __str__(self: Any) -> str:  # noqa: N807 - it replaces `__str__`
        return printable(message(self))

    return __str__


class ActionError(Exception):
    """The root of all errors of this library.

    Messages repeat names, reasons and values from outside, and end up in logs and on terminals: each is one printable
    line.

    Attributes:
        http_status: The status with which a web service answers if a call raises this error.
        advice: What a person can do about it.
    """

    http_status: ClassVar[int] = 500
    advice: ClassVar[str] = "read the message: it says what to do"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make the message of a subclass printable, whatever its attributes hold."""
        super().__init_subclass__(**kwargs)
        if "__str__" in vars(cls):
            cls.__str__ = _shown(vars(cls)["__str__"])  # type: ignore[method-assign]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by attributes: errors cross process borders in worker pools."""
        return (_rebuild, (type(self), self.__dict__))
