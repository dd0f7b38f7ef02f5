"""What docs/testing.md shows runs: as the test file of a host, under pytest without plugins."""

import os
import re
import subprocess
import sys

from operator_core.testing import LedgerContract
from tests.support.documents import ROOT, blocks

TESTING = ROOT / "docs" / "testing.md"


def test_the_blocks_are_the_tests_of_a_host_and_pass(tmp_path, postgres) -> None:
    (tmp_path / "test_host.py").write_text("\n\n".join(blocks(TESTING, "python")), encoding="utf-8")
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "TEST_SERVER": postgres.dsn()}

    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_host.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    of_the_contract = [name for name in dir(LedgerContract) if name.startswith("test_")]
    shown = re.findall(r"^def test_", "".join(blocks(TESTING, "python")), re.MULTILINE)
    assert f"{len(shown) + 2 * len(of_the_contract)} passed" in done.stdout, done.stdout + done.stderr
