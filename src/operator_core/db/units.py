"""What a unit of work needs of the transaction around it, and how errors of the driver leave it."""

from collections.abc import Generator
from contextlib import contextmanager
from enum import Enum

from sqlalchemy.engine import URL

from operator_core.actions.errors import ActionError
from operator_core.db.engine.urls import shown
from operator_core.db.faults import translate
from operator_core.db.transitions import RefusedError


class Kind(Enum):
    """The needs of a unit: a function over a connection that is run whole or not at all."""

    READ = "one SELECT"
    SNAPSHOT = "several SELECTs from one snapshot"
    WRITE = "one statement that writes, whole by itself"
    STEPS = "several statements that write, or one where the engine can put them into one"
    TRANSACTION = "several statements, at least one of which writes"


READING = frozenset({Kind.READ, Kind.SNAPSHOT})


@contextmanager
def translated(url: URL) -> Generator[None]:
    """Turn what drivers raise into this library's errors, in which `url` is shown without its password."""
    try:
        yield
    except (ActionError, RefusedError):
        raise
    except Exception as error:
        known = translate(error, shown(url))
        if known is None:
            raise
        raise known from error
