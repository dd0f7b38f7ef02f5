"""Random lives, stops and releases through two handles end as a model of sixty lines says, on both engines."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support import race_rounds
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.stop_machine import KillSwitchMachine, Pair


@pytest.fixture
def pair(ledger: Ledger) -> Iterator[Pair]:
    """A pair of handles on an empty ledger."""
    with closing(Pair(ledger)) as opened:
        yield opened


def test_two_handles_and_the_model_agree_after_every_step(pair: Pair) -> None:
    number, examples = race_rounds.seed(), race_rounds.rounds(25, 1_000)

    @seed(number)
    def machine() -> KillSwitchMachine:
        return KillSwitchMachine(pair)

    print(f"kill switch machine, {pair.dbs[0]!r}: {examples} examples (seed {number})")
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )

    assert check_history(pair.ledger) == []
