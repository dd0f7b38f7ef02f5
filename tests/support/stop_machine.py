"""Drives two handles on a ledger through random lives, stops and releases, and compares each step with the model."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from operator_core.actions import (
    ActionOutcome,
    ActionStatus,
    KillSwitchEngagedError,
    Scope,
    StopNotEngagedError,
    TransitionNotAllowedError,
)
from operator_core.actions.lifecycle import OUTCOMES
from operator_core.db import ActionDB
from tests.support import latch
from tests.support.factories import proposal
from tests.support.ledger import Ledger
from tests.support.stop_model import Item, Model
from tests.support.stop_steps import stop

T = TypeVar("T")
Refusal = type[Exception] | None
SCOPES = [
    Scope(),
    Scope(action_name="drain"),
    Scope(ticket_id=1),
    Scope(proposed_by="agent"),
    Scope(action_type="tool"),
]
FIELDS = st.fixed_dictionaries(
    {
        "action_name": st.sampled_from(["drain", "fill"]),
        "ticket_id": st.sampled_from([None, 1]),
        "proposed_by": st.sampled_from(["agent", "host"]),
        "action_type": st.sampled_from(["tool", "workflow"]),
    }
)
OFTEN = ["propose", "propose", "validate", "start", "start", "finish", "finish", "engage", "release"]
EXECUTING, VALIDATED = ActionStatus.EXECUTING, ActionStatus.VALIDATED


class Pair:
    """Two handles on one ledger, a plain client, and the loop that they run in; serves one example after the other."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.runner = asyncio.Runner()
        self.plain: Any = ledger.connect()
        self.dbs = [self.run(ActionDB(ledger.target).open()) for _ in range(2)]

    def run(self, work: Awaitable[T]) -> T:
        async def wait() -> T:
            return await work

        return self.runner.run(wait())

    def refusal(self, work: Awaitable[object]) -> Refusal:
        try:
            self.run(work)
        except (TransitionNotAllowedError, StopNotEngagedError) as error:
            return type(error)
        return None

    def number(self, query: str) -> int:
        return int(self.plain.execute(query).fetchone()[0])

    def settle(self) -> None:
        """Release everything and cancel what is pending: what comes next knows nothing of what was before."""
        for standing in self.run(self.dbs[0].kill_switch_status()).engaged:
            self.run(self.dbs[0].release_kill_switch(by="bob", reason="next", generation=standing.generation))
        self.run(self.dbs[0].cancel_all_pending())

    def close(self) -> None:
        self.plain.close()
        for db in self.dbs:
            self.run(db.close())
        self.runner.close()


class KillSwitchMachine(RuleBasedStateMachine):
    """Acts through one of two handles, and expects what the model says."""

    def __init__(self, pair: Pair) -> None:
        super().__init__()
        pair.settle()
        self.pair = pair
        self.oldest = pair.number("SELECT coalesce(max(id), 0) FROM action_proposals")
        self.model = Model(counter=pair.number("SELECT max(generation) FROM kill_switch"))
        self.records: dict[int, int] = {}

    # Few rules of many acts: of many rules, Hypothesis leaves out some in every example.
    @rule(data=st.data(), act=st.sampled_from(OFTEN))
    def often(self, data: st.DataObject, act: str) -> None:
        getattr(self, act)(self.pair.dbs[data.draw(st.integers(0, 1))], data.draw)

    @rule(data=st.data(), act=st.sampled_from(["cancel", "cancel_all_pending", "publish", "status", "reopen"]))
    def seldom(self, data: st.DataObject, act: str) -> None:
        getattr(self, act)(self.pair.dbs[data.draw(st.integers(0, 1))], data.draw)

    @invariant()
    def the_ledger_is_as_the_model_says(self) -> None:
        query = f"SELECT id, status, generation FROM action_proposals WHERE id > {self.oldest} ORDER BY id"
        found = [tuple(row) for row in self.pair.plain.execute(query).fetchall()]

        assert found == [(n, item.status, item.generation) for n, item in sorted(self.model.items.items())]

    def pick(self, draw: Callable[..., Any], wanted: ActionStatus) -> tuple[int, Item]:
        """Return a proposal: mostly one for which the wanted step is legal."""
        able = [number for number, item in sorted(self.model.items.items()) if self.model.allows(item, wanted)]
        is_able = able and draw(st.integers(0, 4))
        number = draw(st.sampled_from(able if is_able else sorted(self.model.items)))
        return number, self.model.items[number]

    # -- lives ---------------------------------------------------------------------------------------------------------

    def propose(self, db: ActionDB, draw: Callable[..., Any]) -> None:
        fields = draw(st.lists(FIELDS, min_size=1, max_size=3))
        made = self.pair.run(db.create_proposals([proposal(**given) for given in fields]))
        for one, given in zip(made, fields, strict=True):
            self.model.propose(one.id, given)

    def step(self, db: ActionDB, draw: Callable[..., Any], wanted: ActionStatus) -> None:
        if not self.model.items:
            return
        number, item = self.pick(draw, wanted)
        is_allowed = self.model.allows(item, wanted) and item.status is not EXECUTING  # its record is open
        expected = None if is_allowed else TransitionNotAllowedError

        assert self.pair.refusal(db.update_proposal_status(number, wanted)) is expected
        item.status = wanted if is_allowed else item.status

    def validate(self, db: ActionDB, draw: Callable[..., Any]) -> None:
        self.step(db, draw, VALIDATED)

    def cancel(self, db: ActionDB, draw: Callable[..., Any]) -> None:
        self.step(db, draw, ActionStatus.CANCELLED)

    def start(self, db: ActionDB, draw: Callable[..., Any]) -> None:
        if not self.model.items:
            return
        number, item = self.pick(draw, EXECUTING)
        is_barred = self.model.asked(item) or self.model.stopped(item)
        expected: Refusal = KillSwitchEngagedError if is_barred else None
        refusal = self.pair.refusal(db.start_execution(number))
        if not self.model.allows(item, EXECUTING):
            expected = TransitionNotAllowedError
            if refusal is KillSwitchEngagedError:  # what a stop has cancelled is refused in the name of that stop
                assert item.status is ActionStatus.CANCELLED
                refusal = TransitionNotAllowedError

        assert refusal is expected
        if expected is None:
            (record,) = self.pair.run(db.get_records_for_proposal(number))
            item.status, self.records[number] = EXECUTING, record.id

    def finish(self, db: ActionDB, draw: Callable[..., Any]) -> None:
        if not self.records:
            return
        number, outcome = draw(st.sampled_from(sorted(self.records))), draw(st.sampled_from(ActionOutcome))
        item = self.model.items[number]
        is_allowed = outcome is not ActionOutcome.STOPPED or self.model.asked(item)
        expected = None if item.status is EXECUTING and is_allowed else TransitionNotAllowedError

        answer = db.acknowledge_stop(self.records[number], outcome=outcome, by="worker")
        assert self.pair.refusal(answer) is expected
        if expected is None:
            item.status = next(status for status, outcomes in OUTCOMES.items() if outcome in outcomes)

    def cancel_all_pending(self, db: ActionDB, _draw: Callable[..., Any]) -> None:
        pending = self.model.pending()

        assert self.pair.run(db.cancel_all_pending()) == len(pending)
        for item in pending.values():
            item.status = ActionStatus.CANCELLED

    # -- stops ---------------------------------------------------------------------------------------------------------

    def engage(self, db: ActionDB, draw: Callable[..., Any]) -> None:
        scope = draw(st.sampled_from(SCOPES))
        self.model.engage(scope)
        items = sorted(self.model.items.items())

        receipt = self.pair.run(stop(db, scope=scope))

        running = [one.proposal_id for one in receipt.still_executing if one.proposal_id > self.oldest]
        assert (receipt.generation, receipt.not_yet_cancelled) == (self.model.counter, ())
        assert running == [n for n, item in items if item.status is EXECUTING and item.is_in(scope)]
        assert list(receipt.cancelled) == sorted(self.model.sweep(scope))

    def publish(self, _db: ActionDB, draw: Callable[..., Any]) -> None:
        """Be a stop that is cut off between publish and sweep."""
        scope = draw(st.sampled_from(SCOPES))
        self.model.engage(scope)
        assert latch.engage(self.pair.plain, str(scope)) == self.model.counter

    def release(self, db: ActionDB, draw: Callable[..., Any]) -> None:
        engaged = [generation for generation, is_engaged in self.model.latch.values() if is_engaged]
        generation = draw(st.sampled_from([*engaged, *engaged, *engaged, self.model.counter, self.model.counter - 1]))
        expected = None if self.model.release(generation) else StopNotEngagedError

        release = db.release_kill_switch(by="bob", reason="all clear", generation=generation)
        assert self.pair.refusal(release) is expected

    def status(self, db: ActionDB, _draw: Callable[..., Any]) -> None:
        self.model.sweep()
        engaged = sorted(generation for generation, is_engaged in self.model.latch.values() if is_engaged)

        found = self.pair.run(db.kill_switch_status())

        assert [one.generation for one in found.engaged] == engaged
        assert (found.generation, found.not_yet_cancelled) == (self.model.counter, ())

    def reopen(self, db: ActionDB, _draw: Callable[..., Any]) -> None:
        self.pair.run(db.close())
        self.pair.run(db.open())
