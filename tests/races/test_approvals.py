"""Processes start, revoke, approve and stop the same proposals at once: nothing starts without its approvals."""

from operator_core.db import ActionDB
from tests.support.approval_race import PROPOSALS, ApprovalRace
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE
from tests.support.plain_sql import on_postgresql, on_sqlite
from tests.support.race_nursery import Nursery
from tests.support.race_rounds import LONG, engine_of, rounds, seed

ROUNDS = rounds(short=2, long=24)
MOST_ROUNDS = 60  # until a control finds what it must


async def test_nothing_starts_without_its_approvals_none_twice_and_none_after_a_stop(
    ledger: Ledger, nursery: Nursery
) -> None:
    number = seed()
    async with ActionDB(ledger.target, lock_timeout=PATIENCE) as db:
        found = await ApprovalRace(ledger, nursery, db, number).run(ROUNDS)
        differences = await db.verify()

    print(found.line(engine_of(ledger), number))
    assert found.started
    assert found.outcomes["revoke"]["done"]
    assert (found.unapproved, found.twice, found.late) == ([], [], [])
    assert found.stops == ROUNDS // 2
    assert differences == []
    assert check_history(ledger, found.confirmed) == []


async def until_found(
    ledger: Ledger, nursery: Nursery, title: str, alteration: tuple[str, str], wanted: int
) -> list[int]:
    """Race an altered ledger until so many starts without their approvals were found; return them."""
    number = seed()
    async with ActionDB(ledger.target, lock_timeout=PATIENCE) as db:
        race = ApprovalRace(ledger, nursery, db, number, alteration)
        found = await race.run(1, with_stops=False)
        while len(found.unapproved) < wanted and found.proposals < MOST_ROUNDS * PROPOSALS:
            await race.run(1, with_stops=False)

    print(found.line(title, number))
    return found.unapproved


WANTED = 10 if LONG else 1


@on_postgresql
async def test_the_same_race_finds_unapproved_starts_where_a_decision_does_not_lock_its_proposal(
    ledger: Ledger, nursery: Nursery, plain
) -> None:
    ((text,),) = plain.execute("SELECT pg_get_functiondef('operator_core_approvals_insert'::regproc)").fetchall()
    assert text.count(" FOR NO KEY UPDATE") == 1
    alteration = (text.replace(" FOR NO KEY UPDATE", ""), text)

    assert len(await until_found(ledger, nursery, "postgresql without the row lock", alteration, WANTED)) >= WANTED


@on_sqlite
async def test_the_same_race_finds_approvals_that_are_revoked_too_late_where_no_guard_refuses_them(
    ledger: Ledger, nursery: Nursery, plain
) -> None:
    ((text,),) = plain.execute("SELECT sql FROM sqlite_master WHERE name = 'operator_core_approvals_insert'").fetchall()
    alteration = ("DROP TRIGGER operator_core_approvals_insert", text)

    assert len(await until_found(ledger, nursery, "sqlite without the guard", alteration, WANTED)) >= WANTED
