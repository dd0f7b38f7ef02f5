"""Random lives, stops and releases through two handles end as a model of sixty lines says, on both engines."""

import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support import race_rounds
from tests.support.ledger import Ledger
from tests.support.postgres import PrivatePostgres
from tests.support.stop_machine import KillSwitchMachine


@pytest.fixture
def new_file(sqlite_template: Path, tmp_path: Path) -> Callable[[], Ledger]:
    """Make an empty file for each example."""
    numbers = count()
    return lambda: Ledger(Path(shutil.copy(sqlite_template, tmp_path / f"{next(numbers)}.db")))


@pytest.fixture
def new_database(postgres: PrivatePostgres, postgres_template: str) -> Callable[[], Ledger]:
    """Make an empty database for each example."""
    return lambda: Ledger(postgres.url(postgres.create_database(postgres_template)))


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_two_handles_and_the_model_agree_after_every_step(request, engine: str) -> None:
    make = request.getfixturevalue("new_file" if engine == "sqlite" else "new_database")
    number, examples = race_rounds.seed(), race_rounds.rounds(15, 300)

    @seed(number)
    def machine() -> KillSwitchMachine:
        return KillSwitchMachine(make)

    print(f"kill switch machine, {engine}: {examples} examples (seed {number})")
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
