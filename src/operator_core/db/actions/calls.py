"""What every group of calls stands on: one method that runs a unit, and alone knows who owns the transaction."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa

from operator_core.db.units import Kind

P = ParamSpec("P")
T = TypeVar("T")
Unit = Callable[Concatenate[sa.Connection, P], T]


class Calls(ABC):
    """Is a group of calls, each of which names one function of a store."""

    _joined = True
    """Whether the transaction is a host's, so that what is done counts only at its commit."""

    @abstractmethod
    def _tell(self) -> None:
        """Wake whoever waits: a step was taken."""

    @abstractmethod
    async def _run(self, kind: Kind, unit: Unit[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `unit` in a transaction that gives it what `kind` needs."""
