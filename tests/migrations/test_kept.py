"""Upgrades the ledgers that were written at each revision and kept: nothing that they hold is lost or changed."""

import gzip
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from operator_core.actions import ActionStatus
from operator_core.db import ActionDB, migrations, upgrade
from tests.migrations.kept.keep import STOPPED, read
from tests.migrations.support import upgrade_at_once, version_of
from tests.support.factories import running, stored
from tests.support.ledger import Ledger

KEPT = Path(__file__).with_name("kept")
COMMAND = "PYTHONPATH=. .venv/bin/python tests/migrations/kept/keep.py"


def file_of(revision: str, ledger: Ledger, kind: str | None = None) -> Path:
    engine, written = ("sqlite", "db.gz") if ledger.is_sqlite else ("postgresql", "sql")
    return KEPT / f"{revision}_{engine}.{kind or written}"


@pytest.fixture(params=migrations.REVISIONS)
def kept(request: pytest.FixtureRequest, empty: Ledger) -> tuple[str, Ledger]:
    """The kept ledger of each revision in turn, as it was written."""
    revision, file = request.param, file_of(request.param, empty)
    assert file.exists(), f"nothing was kept of revision {revision}: run {COMMAND} before it is released"
    if isinstance(empty.target, Path):
        empty.target.write_bytes(gzip.decompress(file.read_bytes()))
    else:
        with closing(empty.connect()) as plain:
            plain.execute(file.read_text(encoding="utf-8"))
    return revision, empty


def expected(revision: str, ledger: Ledger) -> dict[str, Any]:
    return json.loads(file_of(revision, ledger, "json").read_text(encoding="utf-8"))


def test_what_was_kept_is_at_its_revision_and_has_every_state(kept):
    revision, ledger = kept

    rows = expected(revision, ledger)

    status = rows["columns"]["action_proposals"].index("status")
    assert version_of(ledger) == revision
    assert {row[status] for row in rows["rows"]["action_proposals"]} == set(ActionStatus)
    assert read(ledger, rows["columns"]) == rows["rows"]


async def test_what_was_kept_is_upgraded_and_nothing_of_it_changes(kept):
    revision, ledger = kept
    rows = expected(revision, ledger)

    upgrade(ledger.target)

    assert version_of(ledger) == migrations.HEAD
    assert read(ledger, rows["columns"]) == rows["rows"]
    async with ActionDB(ledger.target) as db:
        assert await db.verify() == []


def test_many_processes_at_once_upgrade_what_was_kept(kept):
    revision, ledger = kept
    rows = expected(revision, ledger)

    problems = upgrade_at_once(migrations.scripts(), ledger)

    assert problems == []
    assert version_of(ledger) == migrations.HEAD
    assert read(ledger, rows["columns"]) == rows["rows"]


async def test_what_was_kept_goes_on_after_the_upgrade_and_its_stop_holds(kept):
    _, ledger = kept
    upgrade(ledger.target)

    async with ActionDB(ledger.target) as db:
        (waiting,) = [made for made in await db.list_proposals(ActionStatus.VALIDATED) if made.action_name == "restart"]
        record = await db.start_execution(waiting.id)
        await db.finish_execution(record.id, success=True)
        await running(db)
        stopped = await stored(db, ticket_id=STOPPED)
        differences = await db.verify()

    assert (stopped.status, differences) == (ActionStatus.CANCELLED, [])
