"""Tests start on any machine, whatever its account has set up."""

import os
import tempfile
from pathlib import Path

import pytest

from tests.support import environment
from tests.support.environment import isolate, keep_files_in_memory


def test_what_leads_the_drivers_elsewhere_is_taken_out(tmp_path: Path) -> None:
    environ = {"PGHOST": "db", "PGSSLMODE": "verify-full", "OPERATOR_CORE_DATABASE_URL": "x.db", "HOME": str(tmp_path)}

    isolate(environ)

    assert environ == {"HOME": str(tmp_path)}


@pytest.mark.parametrize("home", [{}, {"HOME": ""}, {"HOME": "/nonexistent/home"}], ids=["none", "empty", "missing"])
def test_a_home_that_cannot_be_used_is_replaced(home: dict[str, str]) -> None:
    isolate(home)

    assert os.access(home["HOME"], os.R_OK | os.W_OK | os.X_OK)


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is taken for one in memory, with enough space."""
    monkeypatch.setattr(environment, "_MEMORY_NEEDED", 1)
    monkeypatch.setattr(tempfile, "tempdir", tempfile.tempdir)
    return tmp_path


def test_temporary_files_are_in_memory(memory: Path) -> None:
    environ: dict[str, str] = {}

    keep_files_in_memory(environ, memory)

    assert environ == {"TMPDIR": str(memory)}
    assert tempfile.tempdir is None


def test_temporary_files_stay_where_the_environment_has_them(memory: Path) -> None:
    environ = {"TMPDIR": "/elsewhere"}

    keep_files_in_memory(environ, memory)

    assert environ == {"TMPDIR": "/elsewhere"}


def test_temporary_files_stay_on_disk_where_memory_is_short_or_missing(
    memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ: dict[str, str] = {}

    keep_files_in_memory(environ, memory / "missing")
    monkeypatch.setattr(environment, "_MEMORY_NEEDED", 2**80)
    keep_files_in_memory(environ, memory)

    assert environ == {}
