"""`ActionRepository`: all calls, in the transaction of a host."""

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from operator_core.actions.errors import RequiresActionDBError
from operator_core.db.modes import Unit
from operator_core.db.repository.action_ledger import ActionLedger
from operator_core.db.repository.claim_pointers import ClaimPointers
from operator_core.db.repository.unreadable_rows import OnUnreadable, UnreadableRows, of_engine
from operator_core.db.transactions.joined import run_in_session

P = ParamSpec("P")
T = TypeVar("T")

NEEDS_OWN_TRANSACTIONS = ("engage_kill_switch", "release_kill_switch")
"""Calls that only `ActionDB` has, but that callers may look for here: a stop must not wait for a host's commit."""


class ActionRepository(ActionLedger):
    """A repository in the transaction of a host's session. It only flushes; the host begins, commits and closes.

    After an expected refusal the session remains usable. A start counts only once the host commits: run no side effect
    before that. A host's SQLite engine must have been passed to `configure_engine`.

    Args:
        session: The host's session.
        on_unreadable: Called once for each row that a call skips because it cannot be read; by default a warning is
            logged.
    """

    def __init__(self, session: AsyncSession, *, on_unreadable: OnUnreadable | None = None) -> None:
        self._session = session
        self._claim_pointers = ClaimPointers()
        self._reported = None if on_unreadable is None else UnreadableRows(on_unreadable)

    def _unreadable_rows(self) -> UnreadableRows:
        return self._reported or of_engine(self._session.sync_session.get_bind().dialect)

    def _run(self, unit: Unit[P, T], *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        return run_in_session(self._session, unit, *args, **kwargs)

    def _notify(self) -> None:
        """Do nothing: before the host commits, nothing has happened."""

    if not TYPE_CHECKING:  # hidden from type checkers, which report these calls; at run time the error explains why

        def __getattr__(self, name: str) -> Any:
            """Explain why a call of `ActionDB` is missing.

            Raises:
                RequiresActionDBError: The missing call is called.
            """
            if name not in NEEDS_OWN_TRANSACTIONS:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

            def refuse(*_: object, **__: object) -> NoReturn:
                raise RequiresActionDBError(call=name)

            return refuse
