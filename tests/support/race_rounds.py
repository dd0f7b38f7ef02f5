"""How long the races run: a short form in every test run, a long one on request."""

import os
import random

from tests.support.ledger import Ledger

LONG = os.environ.get("OPERATOR_CORE_LONG", "") not in ("", "0")
_ROUNDS = os.environ.get("OPERATOR_CORE_RACE_ROUNDS")


def rounds(short: int, long: int) -> int:
    """Return how many rounds to run: as the environment says, else the short or the long form."""
    return int(_ROUNDS) if _ROUNDS else long if LONG else short


def seed() -> int:
    """Return the seed of the environment, to repeat a run, else a new one; whoever takes it prints it."""
    given = os.environ.get("OPERATOR_CORE_RACE_SEED")
    return int(given) if given else random.SystemRandom().randrange(1_000_000)


def engine_of(ledger: Ledger) -> str:
    """Return the name of a ledger's engine, for a figure."""
    return "sqlite" if ledger.is_sqlite else "postgresql"
