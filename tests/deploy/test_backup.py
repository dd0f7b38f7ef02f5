"""A backup that was restored is the same ledger, with its guards, its stops and its grants."""

import os
import shutil
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from operator_core.actions import (
    ActionStatus,
)
from operator_core.db import ActionDB, upgrade
from tests.support.factories import running, stored
from tests.support.ledger import Ledger
from tests.support.postgres import PrivatePostgres
from tests.support.roles import (
    APP,
    NO_PRIVILEGE,
    OPERATOR,
    OWNER,
    Deployed,
    finished,
    refusal,
)
from tests.support.stop_steps import stop

# -- a backup ----------------------------------------------------------------------------------------------------------


def run_program(server: PrivatePostgres, name: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a program of PostgreSQL, of the version of the server where that is our own."""
    found = server._bin / name if server.owned else shutil.which(name)
    assert found is not None, f"{name} is not installed, and backups are made with it: install PostgreSQL's client"
    environment = {variable: value for variable, value in os.environ.items() if not variable.startswith("PG")}
    return subprocess.run([str(found), *words], capture_output=True, text=True, check=False, env=environment)


@pytest.fixture
async def dump(deployed: Deployed, app: ActionDB, tmp_path: Path) -> Path:
    """Is a backup of a ledger with a stop, a finished action, one that runs, and one that is pending."""
    await finished(app)
    await running(app)
    await stop(app, scope="ticket_id=4711")
    await stored(app, ActionStatus.VALIDATED)
    file = tmp_path / "ledger.dump"
    made = run_program(deployed.server, "pg_dump", "--format=custom", f"--file={file}", Ledger(deployed.url(OWNER)).dsn)
    assert made.returncode == 0, made.stderr
    return file


async def test_a_restored_ledger_is_the_same_with_its_guards_its_stops_and_its_grants(
    deployed: Deployed, app: ActionDB, dump: Path
) -> None:
    other = deployed.another()

    target = Ledger(other.server.url(other.database)).dsn
    restored = run_program(other.server, "pg_restore", "--exit-on-error", "--dbname", target, str(dump))

    assert restored.returncode == 0, restored.stderr
    async with ActionDB(other.url(APP)) as again, ActionDB(other.url(OPERATOR)) as operator:
        assert await again.list_proposals() == await app.list_proposals()
        assert (await again.kill_switch_status()).engaged == (await app.kill_switch_status()).engaged
        assert await again.verify() == []
        receipt = await stop(operator)
    assert (len(receipt.cancelled), len(receipt.still_executing)) == (1, 1)
    with closing(other.connect(APP)) as plainly:
        assert refusal(plainly, "DELETE FROM action_events") == NO_PRIVILEGE


def test_a_restore_of_data_alone_is_refused(deployed: Deployed, dump: Path) -> None:
    other = deployed.another()
    upgrade(other.server.url(other.database))

    target = Ledger(other.server.url(other.database)).dsn
    words = ("--data-only", "--table=action_proposals", "--exit-on-error", "--dbname", target, str(dump))
    restored = run_program(other.server, "pg_restore", *words)

    assert (restored.returncode, "OC001" in restored.stderr) == (1, True)
