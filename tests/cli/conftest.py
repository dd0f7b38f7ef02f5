"""Fixtures that run the command line."""

import io
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import pytest

from operator_core.cli.main import main
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
    """Run the command in a thread of this process, which has imported all of it, as a process would run it.

    Tests of signals, exit codes and standard streams of a process start one themselves.
    """
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))

    def run() -> int:
        try:
            return main(arguments)
        except SystemExit as end:  # argparse
            return int(end.code or 0)

    environment = patch.dict(os.environ, env, clear=True) if env is not None else nullcontext()
    with environment, redirect_stdout(out), redirect_stderr(err), ThreadPoolExecutor(1) as thread:
        code = thread.submit(run).result(timeout=PATIENCE)
    return Ran(code, *(stream.buffer.getvalue().decode() for stream in (out, err)))


@pytest.fixture
def command(ledger: Ledger) -> Run:
    """The command on the ledger under test."""

    def run(name: str, *arguments: str) -> Ran:
        return run_command(name, *arguments, "--url", str(ledger.target))

    return run
