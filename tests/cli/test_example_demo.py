"""The demo shows a stop in the middle of the work, and fails where a promise does not hold."""

import subprocess
import sys
from pathlib import Path

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"


def test_the_demo_stops_in_the_middle_of_the_work_and_revives_nothing() -> None:
    ran = subprocess.run([sys.executable, DEMO], capture_output=True, text=True, check=False)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert "every promise held: 0 late starts, 0 differences" in ran.stdout
    assert "#4   drain_store {'store': 4}           answers: stopped" in ran.stdout
    assert "answers: finished anyway" in ran.stdout
    assert "\x1b" not in ran.stdout
