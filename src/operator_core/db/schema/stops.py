"""The tables of the kill switch."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from operator_core.actions.kill_switch import EVERYTHING, Scope
from operator_core.db.schema.base import Base, counts_from_1, one_of
from operator_core.db.types import AUTOINCREMENT, WITHOUT_ROWID, BigId, UtcDateTime

SCOPE_FIELDS = tuple(Scope.model_fields)


class KillSwitchRow(Base):
    """The latch of one scope; the highest generation of all rows is the counter."""

    __tablename__ = "kill_switch"

    scope: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    generation: Mapped[int] = mapped_column(sa.BigInteger, unique=True)
    engaged_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    engaged_by: Mapped[str | None] = mapped_column(sa.Text)
    reason: Mapped[str | None] = mapped_column(sa.Text)
    released_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    released_by: Mapped[str | None] = mapped_column(sa.Text)
    release_reason: Mapped[str | None] = mapped_column(sa.Text)

    __table_args__ = (
        sa.CheckConstraint(
            " OR ".join([f"scope = '{EVERYTHING}'", *(f"scope LIKE '{field}=_%'" for field in SCOPE_FIELDS)]),
            name="scope",
        ),
        sa.CheckConstraint(
            "(engaged_at IS NULL) = (generation = 0) "
            "AND (engaged_by IS NULL) = (engaged_at IS NULL) AND (reason IS NULL) = (engaged_at IS NULL)",
            name="engaged",
        ),
        sa.CheckConstraint(
            "(released_at IS NULL OR engaged_at IS NOT NULL) "
            "AND (released_by IS NULL) = (released_at IS NULL) AND (release_reason IS NULL) = (released_at IS NULL)",
            name="released",
        ),
        WITHOUT_ROWID,
    )


class KillSwitchEventRow(Base):
    """One engage or release, written by the database."""

    __tablename__ = "kill_switch_events"

    id: Mapped[int] = mapped_column(BigId, sa.Identity(always=True), primary_key=True)
    generation: Mapped[int] = mapped_column(sa.BigInteger)
    scope: Mapped[str] = mapped_column(sa.Text)
    change: Mapped[str] = mapped_column(sa.Text)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    by: Mapped[str] = mapped_column(sa.Text)
    reason: Mapped[str] = mapped_column(sa.Text)

    __table_args__ = (
        one_of("change", ("engaged", "released")),
        sa.UniqueConstraint("generation", "change"),
        counts_from_1(),
        AUTOINCREMENT,
    )


class KillSwitchBarrierRow(Base):
    """An always empty table: on PostgreSQL it is the lock that a start holds and that a stop waits for."""

    __tablename__ = "kill_switch_barrier"

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)


kill_switch = Base.metadata.tables["kill_switch"]
kill_switch_events = Base.metadata.tables["kill_switch_events"]
kill_switch_barrier = Base.metadata.tables["kill_switch_barrier"]
