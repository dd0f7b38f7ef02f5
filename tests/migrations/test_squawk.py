"""Has squawk, a linter of PostgreSQL migrations, read what each revision says."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from operator_core.db import migrations
from tests.support.patience import PATIENCE

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
OLDEST = "14"
# What is left as it is, by revision, and why.
ACCEPTED = {
    "0001": {
        "prefer-text-field",  # the version table is Alembic's, with its VARCHAR(32)
    },
    "0002": {
        "require-concurrent-index-creation",  # the chain is one transaction: whole or not at all
    },
    "0004": {
        "prefer-bigint-over-int",  # a rule asks for 99 approvals at most
    },
}


def squawk(sql: str) -> set[str]:
    """Return the rules that a script breaks."""
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    program = shutil.which("squawk", path=beside)
    assert program is not None, "squawk is not there: it comes with the development dependencies (squawk-cli)"
    line = [program, "--pg-version", OLDEST, "--reporter", "json"]
    done = subprocess.run(line, input=sql, capture_output=True, text=True, check=False, timeout=PATIENCE)
    return {found["rule_name"] for found in json.loads(done.stdout)}


@pytest.mark.parametrize("revision", migrations.REVISIONS)
def test_a_revision_breaks_no_rule_of_squawk_that_it_does_not_name(revision):
    before = {number: last for last, number in zip(migrations.REVISIONS, migrations.REVISIONS[1:], strict=False)}
    script = io.StringIO()
    migrations.upgrade_sql(NOWHERE, f"{before.get(revision, 'base')}:{revision}", script)

    assert squawk(script.getvalue()) == ACCEPTED.get(revision, set())


def test_squawk_sees_what_is_wrong():
    assert "adding-required-field" in squawk("ALTER TABLE action_proposals ADD COLUMN colour text NOT NULL;")
