"""Runs Alembic's own command line in a checkout, online and offline, on both engines."""

import os
import re
import subprocess
import sys
from contextlib import closing

from operator_core.db import metadata, migrations
from tests.migrations.support import ROOT, contents_of, schema_of
from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE

VARIABLE = "OPERATOR_CORE_DATABASE_URL"


def alembic(*words: str, **variables: str) -> str:
    """Run `alembic` in the checkout, and return what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE} | variables
    line = [sys.executable, "-m", "alembic", *words]
    done = subprocess.run(
        line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def url_of(ledger: Ledger) -> str:
    return f"sqlite:///{ledger.target}" if ledger.is_sqlite else str(ledger.target)


def test_upgrade_current_and_check_agree(empty, migrated):
    url = f"url={url_of(empty)}"

    alembic("-x", url, "upgrade", "head")

    assert schema_of(empty) == schema_of(migrated)
    assert alembic("-x", url, "current").split() == [migrations.HEAD, "(head)"]
    assert "No new upgrade operations detected" in alembic("-x", url, "check")


def test_the_database_comes_from_the_environment_too(empty, migrated):
    alembic("upgrade", "head", **{VARIABLE: url_of(empty)})

    assert schema_of(empty) == schema_of(migrated)


def test_the_option_wins_over_the_environment(empty, other_empty):
    alembic("-x", f"url={url_of(empty)}", "upgrade", "head", **{VARIABLE: url_of(other_empty)})

    assert schema_of(empty) != {}
    assert schema_of(other_empty) == {}


def test_the_offline_script_makes_the_schema_of_the_online_one(empty, migrated):
    script = alembic("-x", f"url={url_of(empty)}", "upgrade", "base:head", "--sql")

    before = schema_of(empty)
    with closing(empty.connect()) as plain:
        plain.executescript(script) if empty.is_sqlite else plain.execute(script)

    assert before == {}
    assert set(re.findall(r"^CREATE TABLE (\w+)", script, re.MULTILINE)) == {*metadata.tables, migrations.VERSION_TABLE}
    assert schema_of(empty) == schema_of(migrated)
    assert contents_of(empty) == contents_of(migrated)


def test_the_offline_script_back_leaves_nothing(ledger):
    script = alembic("-x", f"url={url_of(ledger)}", "downgrade", "head:base", "--sql")

    with closing(ledger.connect()) as plain:
        plain.executescript(script) if ledger.is_sqlite else plain.execute(script)

    left = {name for name in schema_of(ledger, version_table=False) if "sqlite_sequence" not in name}
    assert left == set()
    assert contents_of(ledger)[migrations.VERSION_TABLE] == []


def test_what_needs_no_database_makes_none(tmp_path):
    file = tmp_path / "none.db"

    printed = alembic("heads", **{VARIABLE: f"sqlite:///{file}"})

    assert migrations.HEAD in printed
    assert not file.exists()
