"""Tests start on any machine, whatever its account has set up."""

import os
from pathlib import Path

import pytest

from tests.support.environment import isolate


def test_what_leads_the_drivers_elsewhere_is_taken_out(tmp_path: Path) -> None:
    environ = {"PGHOST": "db", "PGSSLMODE": "verify-full", "OPERATOR_CORE_DATABASE_URL": "x.db", "HOME": str(tmp_path)}

    isolate(environ)

    assert environ == {"HOME": str(tmp_path)}


@pytest.mark.parametrize("home", [{}, {"HOME": ""}, {"HOME": "/nonexistent/home"}], ids=["none", "empty", "missing"])
def test_a_home_that_cannot_be_used_is_replaced(home: dict[str, str]) -> None:
    isolate(home)

    assert os.access(home["HOME"], os.R_OK | os.W_OK | os.X_OK)
