"""Base class of the repository mixins. Only its `_run` knows who owns the transaction."""

from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any, ParamSpec, TypeVar

from operator_core.actions.errors import DigestMismatchError, UnreadableRowError
from operator_core.actions.lifecycle import ActionOutcome
from operator_core.actions.types import StoredRecord
from operator_core.db.engine.home import Home
from operator_core.db.modes import Unit
from operator_core.db.repository.unreadable_rows import UnreadableRows
from operator_core.db.stores import endings
from operator_core.db.stores.ending_batches import Ending
from operator_core.db.stores.executions import Claim
from operator_core.db.stores.reading import Found

P = ParamSpec("P")
T = TypeVar("T")


class RepositoryBase(ABC):
    """The base of a group of calls, each of which runs one function of a store."""

    _joins_transaction = True
    """Whether the transaction is a host's, so that changes count only once the host commits."""

    _home: Home | None = None
    """Where an `ActionDB` was opened; None for a session, whose host knows where it may be used."""

    @abstractmethod
    def _unreadable_rows(self) -> UnreadableRows:
        """Return the registry of the rows that cannot be read."""

    @abstractmethod
    def _notify(self) -> None:
        """Wake the waiters after a step."""

    @abstractmethod
    def _run(self, unit: Unit[P, T], *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        """Return the coroutine that runs `unit` in a transaction of the mode that it declares."""

    async def _finish(self, ending: Ending) -> StoredRecord | UnreadableRowError:
        """Record the end of an execution."""
        return await self._run(endings.finish, *ending)

    async def _run_many(self, unit: Unit[P, Found[T]], *args: P.args, **kwargs: P.kwargs) -> list[T]:
        """Run a `unit` that reads many rows; return the readable ones and report the others."""
        found = await self._run(unit, *args, **kwargs)
        return self._unreadable_rows().readable(found) if found.unreadable else found.items

    async def _require_approved(self, claim: Claim, by: str) -> Claim:
        """Return a claim if what it is about to run is what was approved; else close its record as failed."""
        if claim.approved is None or claim.approved == claim.proposal.digest:
            return claim
        error = DigestMismatchError(
            proposal_id=claim.proposal.id, given=claim.approved or "", expected=claim.proposal.digest
        )
        await self._run(endings.finish, claim.record.id, ActionOutcome.FAILED, str(error), None, by)
        self._notify()
        raise error
