"""Runs the command as a person would, in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on standard output."""
        return json.loads(self.out)


Run = Callable[..., Ran]


def run_command(*arguments: str, env: dict[str, str] | None = None) -> Ran:
    """Run `python -m operator_core` and wait for it."""
    done = subprocess.run(
        [sys.executable, "-m", "operator_core", *arguments],
        capture_output=True, text=True, check=False, timeout=PATIENCE, env=env,
    )  # fmt: skip
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def command(ledger: Ledger) -> Run:
    """Is the command on the ledger under test."""

    def run(name: str, *arguments: str) -> Ran:
        return run_command(name, *arguments, "--url", str(ledger.target))

    return run
