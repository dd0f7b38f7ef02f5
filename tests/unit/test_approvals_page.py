"""The page about approvals, tried as by a reader: its Python runs, and so do its commands."""

import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest

from operator_core.actions import ActionStatus, EventKind
from operator_core.cli.main import main
from tests.support.documents import ROOT, blocks, executed

PAGE = ROOT / "docs" / "approvals.md"


async def test_the_python_does_what_is_said_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    told = SimpleNamespace(**await executed(PAGE, blocks(PAGE, "python")))

    assert [pending.proposal.id for pending in told.waiting] == [told.proposal.id]
    assert told.status.status is ActionStatus.COMPLETED
    start = next(event for event in told.history if event.to_status is ActionStatus.EXECUTING)
    assert start.data == {"policy": "action_name=drain_store", "version": 2, "approvals": [2, 4]}
    kinds = [event.kind for event in told.history if event.kind is not EventKind.STEP]
    assert kinds == [EventKind.APPROVED, EventKind.APPROVED, EventKind.REVOKED, EventKind.APPROVED]
    assert [policy.scope for policy in told.policies] == [
        "action_name=delete_volume",
        "action_name=drain_store",
        "action_name=get_metrics",
        "everything",
    ]


def test_the_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    before, program, after = re.split(r"python - <<'END'\n|^END\n", blocks(PAGE, "sh")[0], flags=re.MULTILINE)

    for commands in (before, after):
        assert {main(shlex.split(line)[1:]) for line in commands.splitlines()} == {0}
        if commands is before:
            exec(compile(program, PAGE, "exec"), {})  # noqa: S102 - it is the page's

    shown = capsys.readouterr().out
    assert "approvals: 2 of 2, 1 of 1 as security (policy for action_name=drain_store, version 2)" in shown
    assert re.search(r"1 +validated", shown)
