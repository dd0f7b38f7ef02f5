"""What a unit of work needs of the transaction around it, and how errors of the driver leave it."""

from enum import Enum


class Kind(Enum):
    """The needs of a unit: a function over a connection that is run whole or not at all."""

    READ = "one SELECT"
    SNAPSHOT = "several SELECTs from one snapshot"
    WRITE = "one statement that writes, whole by itself"
    STEPS = "several statements that write, or one where the engine can put them into one"
    TRANSACTION = "several statements, at least one of which writes"


READING = frozenset({Kind.READ, Kind.SNAPSHOT})
