"""Drives two handles on a ledger through random lives, stops and releases, and compares each step with the model."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from operator_core.actions import (
    ActionOutcome,
    ActionStatus,
    KillSwitchEngagedError,
    Scope,
    StopNotEngagedError,
    TransitionNotAllowedError,
)
from operator_core.db import ActionDB
from tests.support import latch
from tests.support.factories import proposal
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.stop_model import Item, Model
from tests.support.stop_steps import stop

T = TypeVar("T")
VALIDATED = ActionStatus.VALIDATED
handles = st.integers(0, 1)
picks = st.integers(0, 50)
tickets = st.sampled_from([None, 1, 2])
names = st.sampled_from(["drain", "fill"])
scopes = st.one_of(
    st.just(Scope()), names.map(lambda name: Scope(action_name=name)), st.sampled_from([Scope(ticket_id=1)])
)


class KillSwitchMachine(RuleBasedStateMachine):
    """Acts through one of two handles, and expects what the model says."""

    def __init__(self, make: Callable[[], Ledger]) -> None:
        super().__init__()
        self.ledger = make()
        self.model = Model()
        self.records: dict[int, int] = {}
        self.runner = asyncio.Runner()
        self.plain: Any = self.ledger.connect()
        self.dbs = [self.run(ActionDB(self.ledger.target).open()) for _ in range(2)]

    def teardown(self) -> None:
        try:
            assert check_history(self.ledger) == []
        finally:
            self.plain.close()
            for db in self.dbs:
                self.run(db.close())
            self.runner.close()

    def run(self, work: Awaitable[T]) -> T:
        async def wait() -> T:
            return await work

        return self.runner.run(wait())

    def refusal(self, work: Awaitable[object]) -> type[Exception] | None:
        try:
            self.run(work)
        except (TransitionNotAllowedError, StopNotEngagedError) as error:
            return type(error)
        return None

    def pick(self, index: int, wanted: ActionStatus) -> tuple[int, Item]:
        """Return a proposal: mostly one for which the wanted step is legal."""
        able = [number for number, item in sorted(self.model.items.items()) if self.model.allows(item, wanted)]
        numbers = able if able and index % 4 else sorted(self.model.items)
        number = numbers[index % len(numbers)]
        return number, self.model.items[number]

    # -- lives ---------------------------------------------------------------------------------------------------------

    @rule(at=handles, name=names, ticket=tickets, validated=st.sampled_from([0, 1, 2]))
    def propose(self, at: int, name: str, ticket: int | None, validated: int) -> None:
        fields = {"action_name": name, "ticket_id": ticket}
        for made in self.run(self.dbs[at].create_proposals([proposal(**fields), proposal(**fields)])):
            number = made.id or 0
            self.model.propose(number, fields)
            if len(self.model.items) % 3 < validated and self.model.allows(self.model.items[number], VALIDATED):
                self.run(self.dbs[1 - at].update_proposal_status(number, VALIDATED))
                self.model.items[number].status = VALIDATED

    @precondition(lambda self: self.model.items)
    @rule(at=handles, pick=picks, wanted=st.sampled_from([ActionStatus.VALIDATED, ActionStatus.CANCELLED]))
    def step(self, at: int, pick: int, wanted: ActionStatus) -> None:
        number, item = self.pick(pick, wanted)
        expected = None if self.model.allows(item, wanted) else TransitionNotAllowedError
        if item.status is ActionStatus.EXECUTING:
            expected = TransitionNotAllowedError  # its record is open

        assert self.refusal(self.dbs[at].update_proposal_status(number, wanted)) is expected
        item.status = item.status if expected else wanted

    @precondition(lambda self: self.model.items)
    @rule(at=handles, pick=picks)
    def start(self, at: int, pick: int) -> None:
        number, item = self.pick(pick, ActionStatus.EXECUTING)
        is_barred = self.model.asked(item) or self.model.stopped(item)
        expected: type[Exception] | None = KillSwitchEngagedError if is_barred else None
        if not self.model.allows(item, ActionStatus.EXECUTING):
            expected = TransitionNotAllowedError

        assert self.refusal(self.dbs[at].start_execution(number)) is expected
        if expected is None:
            (record,) = self.run(self.dbs[1 - at].get_records_for_proposal(number))
            item.status, self.records[number] = ActionStatus.EXECUTING, record.id or 0

    @precondition(lambda self: self.records)
    @rule(at=handles, pick=picks, outcome=st.sampled_from(ActionOutcome))
    def finish(self, at: int, pick: int, outcome: ActionOutcome) -> None:
        running = [number for number in self.records if self.model.items[number].status is ActionStatus.EXECUTING]
        numbers = running if running and pick % 4 else list(self.records)
        number = numbers[pick % len(numbers)]
        item = self.model.items[number]
        is_allowed = outcome is not ActionOutcome.STOPPED or self.model.asked(item)
        is_open = item.status is ActionStatus.EXECUTING
        expected = None if is_open and is_allowed else TransitionNotAllowedError

        answer = self.dbs[at].acknowledge_stop(self.records[number], outcome=outcome, by="worker")
        assert self.refusal(answer) is expected
        if expected is None:
            ends = {ActionOutcome.SUCCEEDED: ActionStatus.COMPLETED, ActionOutcome.STOPPED: ActionStatus.CANCELLED}
            item.status = ends.get(outcome, ActionStatus.FAILED)

    @rule(at=handles)
    def cancel_all_pending(self, at: int) -> None:
        pending = [item for item in self.model.items.values() if self.model.allows(item, ActionStatus.CANCELLED)]
        pending = [item for item in pending if item.status is not ActionStatus.EXECUTING]

        assert self.run(self.dbs[at].cancel_all_pending()) == len(pending)
        for item in pending:
            item.status = ActionStatus.CANCELLED

    # -- stops ---------------------------------------------------------------------------------------------------------

    @rule(at=handles, scope=scopes)
    def engage(self, at: int, scope: Scope) -> None:
        self.model.engage(scope)
        running = [(n, item) for n, item in self.model.items.items() if item.status is ActionStatus.EXECUTING]
        covered = [number for number, item in running if item.is_in(scope)]

        receipt = self.run(stop(self.dbs[at], scope=scope))

        assert (receipt.generation, receipt.unswept) == (self.model.counter, ())
        assert list(receipt.cancelled) == sorted(self.model.sweep(scope))
        assert [one.proposal_id for one in receipt.still_executing] == sorted(covered)

    @rule(scope=scopes)
    def crash_between_publish_and_sweep(self, scope: Scope) -> None:
        self.model.engage(scope)
        assert latch.engage(self.plain, str(scope)) == self.model.counter

    @precondition(lambda self: self.model.counter)
    @rule(at=handles, pick=picks)
    def release(self, at: int, pick: int) -> None:
        engaged = [generation for generation, is_engaged in self.model.latch.values() if is_engaged]
        generation = engaged[pick % len(engaged)] if engaged and pick % 4 else self.model.counter - pick % 3
        expected = None if self.model.release(generation) else StopNotEngagedError

        release = self.dbs[at].release_kill_switch(by="bob", reason="all clear", generation=generation)
        assert self.refusal(release) is expected

    @rule(at=handles)
    def status(self, at: int) -> None:
        self.model.sweep()
        engaged = sorted(generation for generation, is_engaged in self.model.latch.values() if is_engaged)

        found = self.run(self.dbs[at].kill_switch_status())

        assert [one.generation for one in found.engaged] == engaged
        assert (found.generation, found.unswept) == (self.model.counter, ())

    @rule(at=handles)
    def reopen(self, at: int) -> None:
        self.run(self.dbs[at].close())
        self.run(self.dbs[at].open())

    # -- after each step -----------------------------------------------------------------------------------------------

    @invariant()
    def the_ledger_is_as_the_model_says(self) -> None:
        query = "SELECT id, status, generation FROM action_proposals ORDER BY id"
        found = [tuple(row) for row in self.plain.execute(query).fetchall()]
        items = sorted(self.model.items.items())

        assert found == [(number, item.status, item.generation) for number, item in items]
