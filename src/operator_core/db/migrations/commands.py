"""Upgrade and downgrade, from a target or on a connection."""

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import sqlalchemy as sa
from sqlalchemy.engine import URL

from operator_core.actions.errors import (
    InvalidArgumentError,
)
from operator_core.actions.validation import check_seconds
from operator_core.db.engine.urls import resolve_url
from operator_core.db.migrations.blocking import run_blocking
from operator_core.db.migrations.revisions import DDL_LOCK_TIMEOUT
from operator_core.db.migrations.status import require_free_file

if TYPE_CHECKING:
    from operator_core.db.migrations.environment import Direction


def history() -> list[tuple[str, str]]:
    """Return every revision with its description, oldest first."""
    from operator_core.db.migrations import environment

    return environment.history()


def upgrade(
    target: Path | str | URL | None = None, revision: str = "head", *, lock_timeout: float = DDL_LOCK_TIMEOUT
) -> None:
    """Bring a database to a revision, one process at a time; a failed upgrade leaves nothing behind.

    Blocks; inside a running event loop use `await ActionDB(...).migrate()`.

    Args:
        target: As in `ActionDB`.
        revision: Its number, or `head`.
        lock_timeout: Seconds that a statement waits for a lock on PostgreSQL; meanwhile all traffic waits behind it.

    Raises:
        InvalidArgumentError: There is no such revision.
        DatabaseError: The database cannot be reached or used.
    """
    url, seconds = resolve_url(target), check_seconds(lock_timeout, "lock_timeout")
    _migrate(url, "upgrade", revision, lock_timeout=seconds)


def upgrade_sql(target: Path | str | URL | None, revision: str, output: TextIO) -> None:
    """Write the statements of an upgrade instead of running them; `revision` may be a range, `0001:0002`."""
    from operator_core.db.migrations import environment

    start, _, end = revision.rpartition(":")
    with _refusing(revision):
        environment.write_sql(resolve_url(target), environment.plan("upgrade", end), start or None, output)


def downgrade(target: Path | str | URL | None, revision: str) -> None:
    """Take a database back to a revision; data that only later revisions can hold is lost."""
    _migrate(resolve_url(target), "downgrade", revision)


def upgrade_on(connection: sa.Connection) -> None:
    """Upgrade through a connection that has begun nothing: a host's, or the only one of an in-memory database."""
    from operator_core.db.migrations import environment

    environment.run_on(connection, environment.plan("upgrade", "head"))


def _migrate(url: URL, direction: "Direction", revision: str, *, lock_timeout: float = DDL_LOCK_TIMEOUT) -> None:
    from operator_core.db.migrations import environment

    require_free_file(url)
    with _refusing(revision):
        steps = environment.plan(direction, revision)
        act = partial(environment.run_on, steps=steps, lock_timeout=lock_timeout)
        run_blocking(url, act, lock_timeout=environment.LOCK_WAIT_SECONDS)


@contextmanager
def _refusing(revision: str) -> Generator[None]:
    """Raise our own error for a revision that Alembic does not know."""
    from operator_core.db.migrations import environment

    try:
        yield
    except environment.CommandError as error:
        raise InvalidArgumentError(path="revision", reason=f"is {revision!r}: {error}") from error
