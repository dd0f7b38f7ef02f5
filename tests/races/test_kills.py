"""A process that is killed while it writes loses nothing that it acknowledged, and leaves nothing half done."""

import os
import random
import signal
import sqlite3
import time
from contextlib import closing

from operator_core.db import ActionDB
from operator_core.db.engine.postgresql import APPLICATION_NAME
from tests.support.crash_book import Book, states
from tests.support.factories import proposal
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE
from tests.support.race_nursery import Nursery
from tests.support.race_rounds import engine_of, rounds, seed

KILLS = rounds(short=10, long=100)
LONGEST_LIFE = 0.25  # seconds after the first acknowledged call
TICKETS = 1_000_000  # of one child


def write_and_be_killed(nursery: Nursery, ledger: Ledger, book: Book, life: float, **given: object) -> None:
    """Let a child write, kill it, and return when nothing of it is left, neither here nor in the server."""
    (pid,) = nursery.fork("write", target=str(ledger.target), **given)
    for message in nursery.messages():
        book.note(message)
        assert "gone" not in message, "the writer died of itself"
        if "done" in message:
            break
    for message in nursery.messages(until=time.monotonic() + life):
        book.note(message)
        assert "gone" not in message, "the writer died of itself"
    os.kill(pid, signal.SIGKILL)
    for message in nursery.messages():
        book.note(message)
    assert message["gone"] == [-signal.SIGKILL]
    wait_for_its_backends(ledger)


def wait_for_its_backends(ledger: Ledger) -> None:
    """Wait until PostgreSQL has finished what a killed client had sent."""
    with closing(ledger.connect()) as connection:
        if isinstance(connection, sqlite3.Connection):
            return
        left = (
            "SELECT count(*) FROM pg_stat_activity "
            f"WHERE datname = current_database() AND application_name = '{APPLICATION_NAME}'"
        )
        give_up = time.monotonic() + PATIENCE
        while connection.execute(left).fetchall() != [(0,)]:
            assert time.monotonic() < give_up, "a backend outlives its client"
            time.sleep(0.005)


async def test_a_killed_writer_loses_nothing_that_it_acknowledged(ledger: Ledger, nursery: Nursery) -> None:
    number = seed()
    dice = random.Random(number)
    book, found, under_way, committed = Book(), [], 0, 0

    for kill in range(KILLS):
        life = dice.uniform(0, LONGEST_LIFE)
        before = set(book.under_way())
        write_and_be_killed(nursery, ledger, book, life, seed=number + kill, first_ticket=kill * TICKETS, lies=False)
        found += [*book.contradictions(ledger), *check_history(ledger)]
        async with ActionDB(ledger.target) as db:
            await db.create_proposal(proposal())
        hit, kept = set(book.under_way()) - before, states(ledger)
        under_way += len(hit)
        committed += sum(kept.get(ticket) == book.begun[ticket] for ticket in hit)

    print(
        f"kill {engine_of(ledger)}: {KILLS} kills, {book.acknowledged} calls acknowledged, "
        f"{len(found)} contradictions, {under_way} under way, {committed} of them committed [seed {number}]"
    )
    assert found == []


def test_a_writer_that_acknowledges_too_early_is_found_out(ledger: Ledger, nursery: Nursery) -> None:
    number, book, found = seed(), Book(), []

    for kill in range(20):
        write_and_be_killed(nursery, ledger, book, 0.05, seed=number + kill, first_ticket=kill * TICKETS, lies=True)
        found += book.contradictions(ledger)
        if found:
            break

    print(f"kill of a liar: found out after {kill + 1} kills: {found[:1]} [seed {number}]")
    assert found
