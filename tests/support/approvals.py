"""Steps of tests about approvals: policies, decisions, and the passage of time behind the guards."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from operator_core.actions import Approval, ApprovalPolicy, ApprovalRule, StoredProposal
from operator_core.db import ActionDB, ActionRepository, configure_engine
from tests.support.history import tamper
from tests.support.host import engine_of
from tests.support.ledger import DRIVER, Ledger

OF_NAME = "action_name=drain_store"
"""The scope of the policy that covers what `tests.support.factories` makes."""

CALLERS = ("ActionDB", "ActionRepository")


class HostCalls:
    """The calls of `ActionRepository`, each in a session of its own, which the host commits."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **given: Any) -> Any:
            async with AsyncSession(self._engine) as session:
                result = await getattr(ActionRepository(session), name)(*args, **given)
                await session.commit()
                return result

        return call


@asynccontextmanager
async def calls_of(caller: str, ledger: Ledger) -> AsyncIterator[Any]:
    """Give the calls of a ledger, by `ActionDB` or by the sessions of a host."""
    if caller == "ActionDB":
        async with ActionDB(ledger.target) as opened:
            yield opened
        return
    engine = configure_engine(engine_of(ledger, "sqlite" if ledger.is_sqlite else DRIVER))
    try:
        yield HostCalls(engine)
    finally:
        await engine.dispose()


async def policy(db: Any, *rules: ApprovalRule, scope: str = OF_NAME) -> ApprovalPolicy:
    """State the policy of a scope; without rules, take it away."""
    return await db.set_approval_policy(scope, rules, by="ops", reason="by the book")


async def approved(db: Any, proposal: StoredProposal, *names: str, **given: Any) -> list[Approval]:
    """Have several people approve a proposal, one after another."""
    return [await db.approve(proposal.id, by=name, **given) for name in names]


def pass_time(ledger: Ledger, seconds: float) -> None:
    """Let time pass for all decisions, behind the guards: their times move back."""
    if ledger.is_sqlite:
        moved = "strftime('%Y-%m-%d %H:%M:%f', {0}, '-" + f"{seconds:.3f} seconds') || '000'"
    else:
        moved = "{0} - make_interval(secs => " + f"{seconds})"
    changes = ", ".join(f"{name} = {moved.format(name)}" for name in ("at", "expires_at"))
    tamper(ledger, f"UPDATE action_approvals SET {changes}")
