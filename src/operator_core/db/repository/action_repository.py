"""`ActionRepository`: all calls, in the transaction of a host."""

from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from operator_core.actions.errors import RequiresActionDBError
from operator_core.db.modes import Unit
from operator_core.db.repository.action_ledger import ActionLedger
from operator_core.db.repository.unreadable_rows import OnUnreadable, UnreadableRows, of_engine
from operator_core.db.transactions.joined import run_in_session

P = ParamSpec("P")
T = TypeVar("T")

NEEDS_OWN_TRANSACTIONS = ("engage_kill_switch", "release_kill_switch")
"""Calls that only `ActionDB` has, and that somebody may look for here: a stop must not wait for a host's commit."""


class ActionRepository(ActionLedger):
    """Works in the transaction of a host's session: flushes, and leaves begin, commit, rollback and close to the host.

    After an expected refusal the session is usable. What is started counts only at the host's commit: no side effect
    before it. A host's SQLite engine must have been passed to `configure_engine`.

    Args:
        session: The host's.
        on_unreadable: Is called once for each row that a call passes over because it cannot be read; by default the log
            has a warning.
    """

    def __init__(self, session: AsyncSession, *, on_unreadable: OnUnreadable | None = None) -> None:
        self._session = session
        self._reported = None if on_unreadable is None else UnreadableRows(on_unreadable)

    def _unreadable_rows(self) -> UnreadableRows:
        return self._reported or of_engine(self._session.sync_session.get_bind().dialect)

    async def _run(self, unit: Unit[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await run_in_session(self._session, unit, *args, **kwargs)

    def _notify(self) -> None:
        """Notify nobody: nothing has happened before the host commits."""

    if not TYPE_CHECKING:  # a type checker says that they are not there; whoever has none learns why

        def __getattr__(self, name: str) -> Any:
            """Explain why a call of `ActionDB` is missing.

            Raises:
                RequiresActionDBError: When it is called.
            """
            if name not in NEEDS_OWN_TRANSACTIONS:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

            def refuse(*_: object, **__: object) -> NoReturn:
                raise RequiresActionDBError(call=name)

            return refuse
