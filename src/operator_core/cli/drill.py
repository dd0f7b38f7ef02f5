"""`drill`: practise a stop and an approval on the real ledger, in a scope that no real proposal ever has."""

import argparse
import asyncio
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NoReturn

from operator_core.actions import (
    ActionError,
    ActionProposal,
    ActionStatus,
    ActionType,
    ApprovalRule,
    DatabaseAccessError,
    NotApprovedError,
    Scope,
    StopReceipt,
    StoredRecord,
    TransitionNotAllowedError,
)
from operator_core.actions.approval_evaluation import covering_policy
from operator_core.cli import output
from operator_core.cli.database import open_existing
from operator_core.cli.options import Commands, Parser, count
from operator_core.db import ActionDB

PREFIX = "operator_core.drill"
FAILED = 1
_RUNNING_BEFORE_STOP = 3  # starts that the drill waits for, so that it stops running work


@dataclass
class _Drill:
    """One drill, with its own name for its proposals and its scope."""

    db: ActionDB
    by: str
    name: str = field(default_factory=lambda: f"{PREFIX}.{secrets.token_hex(4)}")
    waiting: list[int] = field(default_factory=list)
    records: list[StoredRecord] = field(default_factory=list)
    moving: asyncio.Event = field(default_factory=asyncio.Event)
    has_policy: bool = False

    async def exempt(self) -> None:
        """Let the drill start its own proposals where a policy for everything asks people about them.

        Raises:
            DatabaseAccessError: This login may not set a policy.
        """
        policy = covering_policy(await self.db.approval_policies(), self.name)
        if policy is not None and any(rule.approvals for rule in policy.rules):
            nobody = [ApprovalRule(approvals=0)]
            await self.db.set_approval_policy(Scope(action_name=self.name), nobody, by=self.by, reason="a drill")
            self.has_policy = True

    async def remove_policy(self) -> None:
        """Remove the policy of the drill, if it has one."""
        if self.has_policy:
            reason = "the drill is over"
            await self.db.set_approval_policy(Scope(action_name=self.name), [], by=self.by, reason=reason)
            self.has_policy = False

    async def propose(self, count: int) -> None:
        """Create proposals and validate most of them, so that the stop sweeps both kinds."""
        made = await self.db.create_proposals(
            [
                ActionProposal(
                    action_name=self.name, action_type=ActionType.TOOL, reason="a drill", proposed_by=self.by
                )
                for _ in range(count)
            ]
        )
        self.waiting = [proposal.id for proposal in made]
        for number in self.waiting[count // 10 :]:
            await self.db.update_proposal_status(number, ActionStatus.VALIDATED, by=self.by)

    async def start_all(self, order: list[int]) -> None:
        """Start proposals as a worker would; those that the stop has cancelled are refused."""
        for number in order:
            try:
                self.records.append(await self.db.start_execution(number, by=self.by))
            except TransitionNotAllowedError:
                continue
            finally:
                if len(self.records) >= _RUNNING_BEFORE_STOP:
                    self.moving.set()

    async def started(self) -> set[int]:
        """Return every proposal of the drill that has ever been started."""
        found = await self.db.list_proposals(action_name=self.name)
        return {proposal.id for proposal in found if proposal.executing_at is not None}

    async def stop(self) -> StopReceipt:
        """Engage the scope of the drill."""
        return await self.db.engage_kill_switch(by=self.by, reason="a drill", scope=Scope(action_name=self.name))

    async def release(self, receipt: StopReceipt, reason: str) -> None:
        """Release the scope of the drill."""
        await self.db.release_kill_switch(by=self.by, reason=reason, generation=receipt.generation)

    async def abandon(self) -> None:
        """Leave nothing of an aborted drill pending."""
        with suppress(ActionError):
            receipt = await self.stop()
            await self.clean_up()
            await self.release(receipt, "the drill was broken off")
        with suppress(ActionError):
            await self.remove_policy()

    async def clean_up(self) -> None:
        """Answer the stop for all running actions, so that everything ends cancelled."""
        for record in self.records:
            await self.db.acknowledge_stop(record.id, by=self.by)


async def drill(options: argparse.Namespace) -> int:
    """Propose, start, stop in the middle, try to start again, release, try again, and count the late starts.

    Before that, try to start something that a policy asks people about, without an approval and with one.
    """
    async with open_existing(options.url) as db:
        engaged = (await db.kill_switch_status()).engaged
        if engaged:
            output.print_warning(f"{output.stop_line(engaged[0])}: release it, or practise later. NOTHING WAS DONE")
            return FAILED
        practice = _Drill(db, options.by)
        refused = await _is_refused_without_approval(practice)
        try:
            await practice.exempt()
        except DatabaseAccessError as error:
            output.print_warning(
                "a policy for everything asks people, also about what a drill would start, and this login may not set "
                f"one for the drill: run it as the owner of the tables ({error}). NOTHING WAS DONE"
            )
            return FAILED
        try:
            receipt, before = await _practise(practice, options)
        except BaseException:
            await practice.abandon()
            raise
        await practice.start_all(practice.waiting)
        late = await practice.started() - before
        await practice.remove_policy()
        left = await db.count_proposals(action_name=practice.name)
    return _report(options, receipt, _Counts(len(before), len(late), left, refused_without_approval=refused))


class _UndoError(Exception):
    """The end of what the drill does about approvals: its transaction is rolled back."""


def _undo() -> NoReturn:
    raise _UndoError


async def _is_refused_without_approval(practice: _Drill) -> bool | None:
    """Try to start under a policy, without an approval and with one, and roll all of it back.

    Returns:
        Whether the database refused the start without an approval; None if this login may not set a policy.
    """
    db, by, scope = practice.db, practice.by, Scope(action_name=practice.name)
    refused = False
    try:
        async with db.transaction() as tx:
            await tx.set_approval_policy(scope, [ApprovalRule(approvals=0)], by=by, reason="a drill")
            wanted = ActionProposal(action_name=practice.name, reason="a drill", proposed_by=PREFIX)
            proposal = await tx.create_proposal(wanted)
            await tx.update_proposal_status(proposal.id, ActionStatus.VALIDATED, by=by)
            await tx.set_approval_policy(scope, [ApprovalRule()], by=by, reason="a drill")
            try:
                await tx.start_execution(proposal.id, by=by)
            except NotApprovedError:
                refused = True
                await tx.approve(proposal.id, by=by)
                await tx.start_execution(proposal.id, by=by)
            _undo()
    except DatabaseAccessError:
        return None
    except _UndoError:
        return refused


async def _practise(practice: _Drill, options: argparse.Namespace) -> tuple[StopReceipt, set[int]]:
    """Return the receipt of the stop, and the proposals that had started by then."""
    await practice.propose(max(options.proposals, 2 * _RUNNING_BEFORE_STOP))
    order = practice.waiting[len(practice.waiting) // 10 :]
    starters = [asyncio.create_task(practice.start_all(order[i :: options.starters])) for i in range(options.starters)]
    moving = asyncio.create_task(practice.moving.wait())
    await asyncio.wait({moving, *starters}, return_when="FIRST_COMPLETED")
    receipt = await practice.stop()
    before = await practice.started()
    await asyncio.gather(*starters)
    moving.cancel()
    await practice.start_all(practice.waiting)
    await practice.clean_up()
    await practice.release(receipt, "the drill is over")
    return receipt, before


@dataclass(frozen=True)
class _Counts:
    """The figures of a drill, and whether a start without an approval was refused (None: not tried)."""

    started: int
    late: int
    left: dict[ActionStatus, int]
    refused_without_approval: bool | None

    @property
    def uncancelled(self) -> int:
        return sum(number for status, number in self.left.items() if status is not ActionStatus.CANCELLED)


_APPROVALS = {
    True: "under a policy, a start without an approval was refused, and one with it was not",
    False: "under a policy, a start WITHOUT AN APPROVAL got through",
    None: "under a policy: not tried, because this login may not set one",
}


def _report(options: argparse.Namespace, receipt: StopReceipt, counts: _Counts) -> int:
    started, late, uncancelled = counts.started, counts.late, counts.uncancelled
    passed = not late and not uncancelled and counts.refused_without_approval is not False
    if options.json:
        parts: dict[str, object] = {"started": started, "late_starts": late, "not_cancelled": uncancelled}
        parts |= {"refused_without_approval": counts.refused_without_approval, "passed": passed}
        output.print_json({**parts, **output.to_json(receipt)})
    else:
        output.print_text(f"drill: {started} starts before the stop, {len(receipt.cancelled)} pending cancelled by it")
        output.print_text(
            f"time to stop: {receipt.stop_ms:.0f} ms (new starts refused after {receipt.publish_ms:.0f} ms)"
        )
        output.print_text(f"{late} late starts", _APPROVALS[counts.refused_without_approval])
        output.print_text(
            "everything of the drill is cancelled" if not uncancelled else f"NOT cancelled: {uncancelled}"
        )
    return 0 if passed else FAILED


def add_commands(commands: "Commands[Parser]", common: Parser, actor: Parser) -> None:
    """Add `drill`."""
    parser = commands.add_parser(
        "drill", parents=[common, actor], help="practise a stop and an approval in a scope of its own"
    )
    parser.add_argument("--proposals", type=count, default=40, help="how many to make (default: 40)")
    parser.add_argument("--starters", type=count, default=4, help="how many start them at once (default: 4)")
    parser.set_defaults(run=drill)
