"""Transaction modes: what a unit of work needs of the transaction around it."""

from collections.abc import Callable
from enum import Enum
from typing import Concatenate, ParamSpec, Protocol, TypeVar, cast

import sqlalchemy as sa

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class TransactionMode(Enum):
    """The needs of a unit, which runs as a whole or not at all."""

    READ = "one SELECT"
    SNAPSHOT = "several SELECTs from one snapshot"
    WRITE = "one statement that writes, whole by itself"
    MULTI_WRITE = "several statements that write, or one where the engine can put them into one"
    TRANSACTION = "several statements, at least one of which writes"


READING = frozenset({TransactionMode.READ, TransactionMode.SNAPSHOT})


class Unit(Protocol[P, T_co]):
    """A function over a connection that declares the mode in which it runs."""

    @property
    def mode(self) -> TransactionMode:
        """The mode, which the caller cannot change."""
        ...

    def __call__(self, connection: sa.Connection, /, *args: P.args, **kwargs: P.kwargs) -> T_co:
        """Run it in a transaction of that mode, or of one that offers more."""
        ...


def unit(mode: TransactionMode) -> Callable[[Callable[Concatenate[sa.Connection, P], T]], Unit[P, T]]:
    """Declare the mode of a unit: `@unit(TransactionMode.READ)`."""

    def declare(function: Callable[Concatenate[sa.Connection, P], T]) -> Unit[P, T]:
        function.mode = mode  # type: ignore[attr-defined]  # pyright: ignore[reportFunctionMemberAccess]
        return cast("Unit[P, T]", function)

    return declare
