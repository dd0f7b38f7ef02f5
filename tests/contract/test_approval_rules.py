"""What Python says of approvals is what the guards decide: random policies, proposals and decisions, on each engine."""

import asyncio
import random
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg

from operator_core.actions import ActionStatus, ApprovalRule, ApproverKind, FourEyes
from operator_core.actions.approval_evaluation import covering_policy, evaluate
from operator_core.db import ActionDB
from operator_core.db.errors import guard_code
from operator_core.db.guards.codes import APPROVAL_REFUSED, CHANGE_REFUSED, NOT_APPROVED, OWN_APPROVAL
from tests.support.approvals import OF_NAME
from tests.support.factories import stored
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.plain_sql import NOW_ON_SQLITE, Plain, decide, rows, step
from tests.support.race_rounds import rounds, seed

ROUNDS = rounds(short=120, long=2_000)
NAMES = ("agent", "carl", "anna", "bob", "dora")
ROLES = (None, "sre", "security")
SOON = {True: "strftime('%Y-%m-%d %H:%M:%f000', 'now', '+50 seconds')", False: "now() + interval '50 seconds'"}


@dataclass
class Dice:
    """A chooser of policies, proposals and decisions."""

    choose: random.Random
    is_sqlite: bool

    def rules(self) -> list[ApprovalRule]:
        """Return up to three rules, each for another role; none is no policy."""
        roles = self.choose.sample(ROLES, k=self.choose.randint(0, 3))
        return [
            ApprovalRule(
                role=role,
                approvals=self.choose.choice([1, 1, 1, 2, 3] if role else [0, 0, 1, 1, 2]),
                four_eyes=self.choose.choice([*FourEyes]),
                humans_only=self.choose.choice([True, False]),
                expires_in=self.choose.choice([None, None, 3600, 60, 0.001]),
            )
            for role in roles
        ]

    def proposal(self) -> dict[str, Any]:
        """Return the fields of a proposal that a rule looks at."""
        return {"proposed_by": self.choose.choice(NAMES), "on_behalf_of": self.choose.choice([None, *NAMES])}

    def decision(self, plain: Plain, number: int, others: list[int]) -> str:
        """Return the insert of a decision, which the guards may refuse."""
        kind = self.choose.choices(["approved", "revoked", "rejected"], weights=[20, 3, 1])[0]
        role = self.choose.choice(ROLES)
        given = {
            "by": f"'{self.choose.choice(NAMES)}'",
            "kind": f"'{self.choose.choice([*ApproverKind, ApproverKind.HUMAN])}'",
            "role": "NULL" if role is None else f"'{role}'",
        }
        if kind == "approved":
            ends = ["NULL", SOON[self.is_sqlite], SOON[self.is_sqlite], "'2001-01-01 00:00:00.000000'"]
            given["expires_at"] = self.choose.choice(ends)
        if kind == "revoked":
            given["revokes"] = str(self.choose.choice(others or [4711]))
        return decide(plain, number, kind, **given)


def is_refused(plain: Plain, *statements: str) -> str | None:
    """Run statements in a transaction that is rolled back; return the code by which a guard refuses one."""
    plain.execute("BEGIN")
    try:
        for statement in statements:
            plain.execute(statement)
    except (sqlite3.Error, psycopg.Error) as error:
        return guard_code(error)
    finally:
        plain.execute("ROLLBACK")
    return None


def now(plain: Plain) -> datetime:
    """Return the time of the database's clock."""
    if isinstance(plain, sqlite3.Connection):
        ((text,),) = rows(plain, f"SELECT {NOW_ON_SQLITE}")
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC)
    ((at,),) = rows(plain, "SELECT clock_timestamp()")
    return at


def record(plain: Plain, statement: str) -> None:
    """Record a decision, unless a guard of decisions refuses it."""
    try:
        plain.execute(statement)
    except (sqlite3.Error, psycopg.Error) as error:
        assert guard_code(error) in (APPROVAL_REFUSED, OWN_APPROVAL, CHANGE_REFUSED), statement  # noqa: PT017 - it may also be taken


async def test_python_and_the_guards_decide_alike(db: ActionDB, plain: Plain, ledger: Ledger) -> None:
    chosen = seed()
    print(f"seed {chosen}")
    dice = Dice(random.Random(chosen), ledger.is_sqlite)
    decided: list[bool] = []
    for _ in range(ROUNDS):
        made = await stored(db, **dice.proposal())
        for scope in (OF_NAME, "everything"):
            if (rules := dice.rules()) or scope in {one.scope for one in await db.approval_policies()}:
                await db.set_approval_policy(scope, rules, by="ops", reason="dice")
            for _ in range(dice.choose.randint(0, 4)):
                others = [one.id for one in (await db.approval_status(made.id)).decisions]
                record(plain, dice.decision(plain, made.id, others))
        await asyncio.sleep(0.005)  # beyond the shortest time for which a rule counts an approval

        policy = covering_policy(await db.approval_policies(), made.action_name)
        decisions = (await db.approval_status(made.id)).decisions
        found = evaluate(made, policy, decisions, now(plain))
        validation = is_refused(plain, step(made.id, ActionStatus.VALIDATED))
        start = is_refused(plain, step(made.id, ActionStatus.VALIDATED), step(made.id, ActionStatus.EXECUTING))
        waiting = {one.proposal.id for one in await db.list_pending_approvals()}

        told = f"{policy}\n{made}\n{decisions}"
        assert validation == start == (None if found.is_approved else NOT_APPROVED), told
        expects_person = found.rejected_by is None and (policy is None or bool(found.missing))
        assert (made.id in waiting) == expects_person, told
        decided.append(found.is_approved)
        if found.rejected_by is not None:
            await db.update_proposal_status(made.id, ActionStatus.CANCELLED)
        else:
            await db.reject(made.id, by="ops", reason="the next one")

    assert ROUNDS // 10 < sum(decided) < ROUNDS - ROUNDS // 10
    assert check_history(ledger) == []
    assert await db.verify() == []
