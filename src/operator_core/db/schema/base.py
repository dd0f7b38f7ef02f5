"""The declarative base, and the parts that tables share."""

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

from operator_core.actions.lifecycle import ActionStatus


class Base(DeclarativeBase):
    """The declarative base with the metadata of the ledger."""

    metadata = sa.MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def sql_list(values: Iterable[str]) -> str:
    """Return string values as an SQL list: `'a', 'b'`."""
    return ", ".join(f"'{value}'" for value in values)


def status_in(statuses: Iterable[ActionStatus]) -> str:
    """Return the condition that the status is one of `statuses`.

    It is written with OR, because SQLite sees that it implies the condition of a partial index only if that condition,
    read from the left, begins with the same words.
    """
    return " OR ".join(f"status = '{status}'" for status in statuses)


def one_of(column: str, values: Iterable[str]) -> sa.CheckConstraint:
    """Return the CHECK that a column holds one of some values."""
    return sa.CheckConstraint(f"{column} IN ({sql_list(values)})", name=column)


def counts_from_1() -> sa.CheckConstraint:
    """Return the CHECK of an id."""
    # A row with an id that a client chose must not block others: SQLite shows a trigger -1 for an id that is not given
    # yet, and gives none after the highest.
    return sa.CheckConstraint("id BETWEEN 1 AND 9007199254740991", name="id")
