"""What every group of calls stands on: one method that runs a unit, and alone knows who owns the transaction."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa

from operator_core.db.engine.home import Home
from operator_core.db.modes import Kind
from operator_core.db.repository.unreadable_rows import PassedOver
from operator_core.db.stores.reading import Found

P = ParamSpec("P")
T = TypeVar("T")
Unit = Callable[Concatenate[sa.Connection, P], T]


class Calls(ABC):
    """Is a group of calls, each of which names one function of a store."""

    _joined = True
    """Whether the transaction is a host's, so that what is done counts only at its commit."""

    _home: Home | None = None
    """Where an `ActionDB` was opened; a session belongs to its host, which knows where it may be used."""

    @abstractmethod
    def _passing_over(self) -> PassedOver:
        """Return what remembers the rows that cannot be read."""

    @abstractmethod
    def _tell(self) -> None:
        """Wake whoever waits: a step was taken."""

    @abstractmethod
    async def _run(self, kind: Kind, unit: Unit[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `unit` in a transaction that gives it what `kind` needs."""

    async def _run_many(self, kind: Kind, unit: Unit[P, Found[T]], *args: P.args, **kwargs: P.kwargs) -> list[T]:
        """Run a `unit` that reads many rows: return those that can be read, and report the others."""
        found = await self._run(kind, unit, *args, **kwargs)
        return self._passing_over().readable(found) if found.unreadable else found.items
