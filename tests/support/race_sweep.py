"""Every public call of `ActionDB`, and the sweep that cancels one of them at each of its await points."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing, closing, suppress
from datetime import UTC, datetime
from enum import Enum
from typing import Any
from uuid import uuid4

from operator_core.actions import ActionRecord, ActionStatus, ApprovalRule, ExecutionResult, Resolution, Scope
from operator_core.db import ActionDB
from tests.support.factories import proposal, running, stored
from tests.support.ledger import Ledger
from tests.support.race_steps import Moment, Obstacle, cancelled_at, highest_id, impatient, moments, standing, traces

Arrange = Callable[[ActionDB], Awaitable[Any]]
Act = Callable[[ActionDB, Any], Awaitable[object]]


async def _nothing(_db: ActionDB) -> None:
    """Arrange nothing."""


async def _record(db: ActionDB) -> int:
    return (await running(db)).id


def _in(status: ActionStatus) -> Arrange:
    async def arrange(db: ActionDB) -> int:
        return (await stored(db, status)).id

    return arrange


async def _executing_without_record(db: ActionDB) -> int:
    number = await _in(ActionStatus.VALIDATED)(db)
    await db.update_proposal_status(number, ActionStatus.EXECUTING)
    return number


async def _two_of_a_kind(db: ActionDB) -> str:
    name = f"iterate-{uuid4()}"
    await db.create_proposals([proposal(action_name=name), proposal(action_name=name)])
    return name


async def _iterate(db: ActionDB, name: str) -> list[object]:
    return [found.id async for found in db.iter_proposals(action_name=name, chunk_size=1)]


_SCOPE = Scope(action_name="stopped")  # one for all: a release looks at every scope that was ever stopped


async def _free(db: ActionDB) -> None:
    for stop in (await db.kill_switch_status()).engaged:
        await db.release_kill_switch(by="bob", reason="next trial", generation=stop.generation)


async def _pending(db: ActionDB) -> Scope:
    await _free(db)
    await stored(db, ActionStatus.VALIDATED, action_name=_SCOPE.action_name)
    return _SCOPE


async def _stopped(db: ActionDB) -> int:
    receipt = await _engage(db, await _pending(db))
    return int(receipt.generation)


async def _running_and_asked(db: ActionDB) -> int:
    await _free(db)
    record = await running(db, action_name=_SCOPE.action_name)
    await _engage(db, _SCOPE)
    return record.id


def _engage(db: ActionDB, scope: Scope) -> Awaitable[Any]:
    return db.engage_kill_switch(by="ann", reason="store 4 is on fire", scope=scope)


async def _watch(db: ActionDB, _: object) -> object:
    async with aclosing(db.watch_kill_switch(poll_interval=0.01)) as changes:
        return await anext(changes)


async def _whole_life(db: ActionDB, _: object) -> None:
    async with db.transaction() as tx:
        first, _second = await tx.create_proposals([proposal(), proposal()])
        await tx.update_proposal_status(first.id, ActionStatus.VALIDATED)
        record = await tx.start_execution(first.id)
        await tx.finish_execution(record.id, success=True)


LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)  # nothing is that old: what a trial compares stays


async def _claimable(db: ActionDB) -> str:
    name = f"claim-{uuid4()}"
    await stored(db, ActionStatus.VALIDATED, action_name=name)
    return name


async def _failing(claiming: Awaitable[Any]) -> None:
    """Fail what is claimed, as a claim does by itself whose caller is cancelled: nothing of it was done."""
    with suppress(RuntimeError):
        async with await claiming:
            raise RuntimeError


async def _failing_all(claiming: Awaitable[Any]) -> None:
    for execution in await claiming:
        await execution.fail("nothing of it was done")


async def _record_of(db: ActionDB) -> int:
    return (await running(db)).proposal_id


async def _lost(db: ActionDB) -> int:
    execution = await db.claim(await _in(ActionStatus.VALIDATED)(db), worker="gone", lease_seconds=0.001)
    await asyncio.sleep(0.005)
    return execution.record.id


async def _unknown(db: ActionDB) -> int:
    number = await _lost(db)
    await db.recover_expired_leases()
    return number


async def _read_events(db: ActionDB, _: object) -> list[object]:
    return [event.id async for event in db.iter_events()]


async def _approved(db: ActionDB) -> int:
    return (await db.approve(await _in(ActionStatus.PROPOSED)(db), by="ann")).id


async def _watch_approvals(db: ActionDB, approval_id: int) -> object:
    async with aclosing(db.watch_approvals(approval_id - 1, poll_interval=0.01)) as decisions:
        return await anext(decisions)


def _set_policy(db: ActionDB, _: object) -> Awaitable[object]:
    return db.set_approval_policy("action_name=unused", [ApprovalRule(approvals=2)], by="ann", reason="two look")


CALLS: dict[str, tuple[Arrange, Act]] = {
    "create_proposal": (_nothing, lambda db, _: db.create_proposal(proposal())),
    "create_proposals": (_nothing, lambda db, _: db.create_proposals([proposal() for _ in range(3)])),
    "get_proposal": (_in(ActionStatus.PROPOSED), lambda db, number: db.get_proposal(number)),
    "list_proposals": (_in(ActionStatus.PROPOSED), lambda db, number: db.list_proposals(before_id=number + 1, limit=1)),
    "iter_proposals": (_two_of_a_kind, _iterate),
    "count_proposals": (_in(ActionStatus.PROPOSED), lambda db, _: db.count_proposals()),
    "update_proposal_status": (
        _in(ActionStatus.VALIDATED),
        lambda db, number: db.update_proposal_status(number, ActionStatus.EXECUTING),
    ),
    "cancel_all_pending": (_in(ActionStatus.VALIDATED), lambda db, _: db.cancel_all_pending(reason="enough")),
    "create_record": (
        _executing_without_record,
        lambda db, number: db.create_record(ActionRecord(proposal_id=number)),
    ),
    "get_record": (_record, lambda db, number: db.get_record(number)),
    "get_records_for_proposal": (_in(ActionStatus.EXECUTING), lambda db, number: db.get_records_for_proposal(number)),
    "update_record": (_record, lambda db, number: db.update_record(number, success=True)),
    "start_execution": (_in(ActionStatus.VALIDATED), lambda db, number: db.start_execution(number)),
    "finish_execution": (_record, lambda db, number: db.finish_execution(number, success=False, error_message="no")),
    "finish_many": (
        _record,
        lambda db, number: db.finish_many([ExecutionResult(record_id=number, success=True)]),
    ),
    "validate_many": (_in(ActionStatus.PROPOSED), lambda db, number: db.validate_many([number])),
    "approve_many": (_in(ActionStatus.PROPOSED), lambda db, number: db.approve_many([number], by="ann")),
    "get_events": (_in(ActionStatus.PROPOSED), lambda db, number: db.get_events(number)),
    "engage_kill_switch": (_pending, _engage),
    "release_kill_switch": (
        _stopped,
        lambda db, generation: db.release_kill_switch(by="bob", reason="it is out", generation=generation),
    ),
    "kill_switch_status": (_stopped, lambda db, _: db.kill_switch_status()),
    "stop_requested": (_running_and_asked, lambda db, number: db.stop_requested(number)),
    "acknowledge_stop": (_running_and_asked, lambda db, number: db.acknowledge_stop(number, by="worker")),
    "watch_kill_switch": (_stopped, _watch),
    "transaction": (_nothing, _whole_life),
    "claim_next": (_claimable, lambda db, name: _failing(db.claim_next(worker="w", action_names=[str(name)]))),
    "claim_many": (_claimable, lambda db, name: _failing_all(db.claim_many(2, worker="w", action_names=[str(name)]))),
    "claim": (_in(ActionStatus.VALIDATED), lambda db, number: _failing(db.claim(number, worker="w"))),
    "recover_expired_leases": (_lost, lambda db, _: db.recover_expired_leases()),
    "list_unresolved": (_unknown, lambda db, _: db.list_unresolved()),
    "resolve_unknown": (
        _unknown,
        lambda db, number: db.resolve_unknown(number, resolution=Resolution.PARTLY, by="ann", reason="looked"),
    ),
    "request_cancel": (_record_of, lambda db, number: db.request_cancel(number, by="ann", reason="no")),
    "lock_proposed": (_two_of_a_kind, lambda db, name: db.lock_proposed([str(name)])),
    "wait_for": (_in(ActionStatus.CANCELLED), lambda db, number: db.wait_for(number, timeout=60)),
    "iter_events": (_in(ActionStatus.COMPLETED), _read_events),
    "approve": (_in(ActionStatus.PROPOSED), lambda db, number: db.approve(number, by="ann")),
    "reject": (_in(ActionStatus.PROPOSED), lambda db, number: db.reject(number, by="ann", reason="no")),
    "revoke": (_approved, lambda db, number: db.revoke(number, by="ann", reason="no")),
    "supersede": (
        _in(ActionStatus.PROPOSED),
        lambda db, number: db.supersede(number, parameters={"store": 5}, by="ann", reason="that one"),
    ),
    "approval_status": (_in(ActionStatus.PROPOSED), lambda db, number: db.approval_status(number)),
    "list_pending_approvals": (_in(ActionStatus.PROPOSED), lambda db, _: db.list_pending_approvals(limit=1)),
    "watch_approvals": (_approved, _watch_approvals),
    "approval_policies": (_nothing, lambda db, _: db.approval_policies()),
    "set_approval_policy": (_nothing, _set_policy),
    "verify": (_in(ActionStatus.COMPLETED), lambda db, _: db.verify()),
    "count_prunable": (_in(ActionStatus.COMPLETED), lambda db, _: db.count_prunable(LONG_AGO)),
    "prune": (_in(ActionStatus.COMPLETED), lambda db, _: db.prune(LONG_AGO)),
}


class Circumstance(Enum):
    """What makes a call meet more than its own statements."""

    COLD = "it has to connect first"
    CONTENDED = "it meets a lock, which is let go a moment after the cancellation"


async def sweep(ledger: Ledger, db: ActionDB, name: str, how: str, *under: Circumstance) -> tuple[int, list[str]]:
    """Cancel one call at each of its moments, until there is damage; return how many there were, and the damage."""
    cold, contended = Circumstance.COLD in under, Circumstance.CONTENDED in under
    arrange, act = CALLS[name]
    damage: list[str] = []
    last: tuple[int, object] | None = None

    async def trial(moment: Moment) -> bool:
        nonlocal last
        if last is not None and standing(client, last[0]) != last[1]:
            damage.append(f"changed after it was over: {last[1]} -> {standing(client, last[0])}")
        if damage:
            return False
        base = highest_id(client)
        given = await arrange(db)
        if cold:
            await db._transactions.release_idle_connections()
            await db._transactions.engine.dispose()
        if contended:
            obstacle.put_up()
            asyncio.get_running_loop().call_later(0.03, obstacle.remove)
        tried = await cancelled_at(moment, lambda: act(db, given), how)
        obstacle.remove()
        damage.extend(traces(client, db))
        found = standing(client, base)
        last = base, found
        if found != after and (found != before or not tried.cancelled):
            damage.append(f"half done: {found}, neither {before} nor {after}")
        return tried.tripped

    with closing(impatient(ledger)) as client, closing(Obstacle(ledger)) as obstacle:
        base = highest_id(client)
        given = await arrange(db)
        before = standing(client, base)
        await act(db, given)
        after = standing(client, base)
        return await moments(trial), damage
