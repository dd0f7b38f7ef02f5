"""The demo shows approvals and a stop in the middle of the work, and fails where a promise does not hold."""

import subprocess
import sys
from pathlib import Path

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"


def test_the_demo_asks_people_stops_in_the_middle_of_the_work_and_revives_nothing() -> None:
    ran = subprocess.run([sys.executable, DEMO], capture_output=True, text=True, check=False)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert "every promise held: 0 starts without approval, 0 late starts, 0 differences" in ran.stdout
    assert "everything                  1 other than the proposer" in ran.stdout
    assert "list_stores {}                     needed nobody, completed" in ran.stdout
    assert "agent-7 may not approve its own" in ran.stdout
    assert "snapshot_store {'store': 1}        1 of 2 approvals" in ran.stdout
    assert "snapshot_store {'store': 1}        approved by anna and ben" in ran.stdout
    assert "rejected by anna: not before the backup" in ran.stdout
    assert "drain_store {'store': 4}           answers: stopped" in ran.stdout
    assert "answers: finished anyway" in ran.stdout
    assert "\x1b" not in ran.stdout
