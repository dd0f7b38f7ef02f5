"""Which database a target means, and how it is shown."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from operator_core.actions.errors import DatabaseCorruptError, DatabaseNotFoundError, DatabaseUrlError

URL_VARIABLE = "OPERATOR_CORE_DATABASE_URL"
DEFAULT_PATH = Path("ops.db")

PGBOUNCER = "pgbouncer"
"""The parameter of a URL that says whether PgBouncer, in transaction mode, stands in front of the server."""

_SECRET_WORDS = ("pass", "secret", "token", "key")
_DRIVERS = {"sqlite": "aiosqlite", "postgresql": "asyncpg", "postgres": "asyncpg"}
_KNOWN_DRIVERS = {"sqlite": ("aiosqlite",), "postgresql": ("asyncpg", "psycopg", "psycopg_async")}


def target_url(target: Path | str | URL | None) -> URL:
    """Return the URL that a target means, with an asynchronous driver in it.

    None means the environment variable `OPERATOR_CORE_DATABASE_URL`, else `ops.db` in the current folder.

    Raises:
        DatabaseUrlError: A text that is no URL, or a URL of a database that this library does not work with.
    """
    if target is None:
        target = os.environ.get(URL_VARIABLE) or DEFAULT_PATH
    if isinstance(target, Path):
        return URL.create("sqlite+aiosqlite", database=str(target))
    if isinstance(target, str):
        target = _parse(target)
    if "@" in (target.host or ""):
        raise _unreadable()
    if target.drivername.startswith("sqlite") and target.host:
        raise DatabaseUrlError(f"SQLite has no host: for the file {target.host} write sqlite:///{target.host}")
    backend, _, driver = target.drivername.partition("+")
    if backend not in _DRIVERS:
        raise DatabaseUrlError(f"operator-core works with sqlite and postgresql, not with {backend!r}: {shown(target)}")
    backend = "postgresql" if backend == "postgres" else backend
    if driver in ("", "pysqlite", "psycopg2"):
        driver = _DRIVERS[backend]
    if driver not in _KNOWN_DRIVERS[backend]:
        names = " or ".join(_KNOWN_DRIVERS[backend])
        raise DatabaseUrlError(f"for {backend} the driver is {names}, not {driver!r}: {shown(target)}")
    return _normalised(target.set(drivername=f"{backend}+{driver}"), driver)


def _parse(text: str) -> URL:
    try:
        return make_url(text)
    except (ArgumentError, ValueError):
        if any(sign in text for sign in ("://", "@", "=")):
            raise _unreadable() from None
    raise DatabaseUrlError(
        f"{text!r} is not a database URL. For a file write Path({text!r}) or 'sqlite:///{text}', "
        "for a server 'postgresql://user@host/name'"
    )


def _unreadable() -> DatabaseUrlError:
    # The text may hold a password: it is not repeated.
    return DatabaseUrlError(
        "this database URL cannot be read; it is written postgresql://user:password@host:port/name, "
        "with special characters in the password percent-encoded"
    )


def _normalised(url: URL, driver: str) -> URL:
    """Speak each driver's dialect of one setting that everybody writes the way libpq does."""
    if driver == "asyncpg" and "sslmode" in url.query:
        return url.difference_update_query(["sslmode"]).update_query_dict({"ssl": url.query["sslmode"]})
    return url


def through_pgbouncer(url: URL) -> URL:
    """Return a URL that says that PgBouncer stands in front of the server.

    Raises:
        DatabaseUrlError: It is not the URL of a server.
    """
    if url.get_backend_name() != "postgresql":
        raise DatabaseUrlError(f"PgBouncer stands in front of PostgreSQL only, not of {shown(url)}")
    return url.update_query_dict({PGBOUNCER: "true"})


def names_pgbouncer(url: URL) -> bool:
    """Tell whether a URL says that PgBouncer stands in front of the server.

    Raises:
        DatabaseUrlError: It says neither that nor the opposite.
    """
    said = url.query.get(PGBOUNCER, "false")
    if said not in ("true", "false"):
        raise DatabaseUrlError(f"pgbouncer is {said!r} in {shown(url)}; it is true or false")
    return said == "true"


def shown(url: URL) -> str:
    """Return a URL as it may be shown: a path for a file; without passwords, in the place for them or in the query."""
    file = file_of(url)
    if file is not None:
        return str(file)
    hidden = {name: "hidden" for name in url.query if any(word in name.lower() for word in _SECRET_WORDS)}
    url = url.update_query_dict(hidden) if hidden else url
    return url.set(drivername=url.get_backend_name()).render_as_string(hide_password=True)


def file_of(url: URL) -> Path | None:
    """Return the file of a SQLite URL; None in memory and for a server."""
    if not url.drivername.startswith("sqlite") or url.database in (None, "", ":memory:"):
        return None
    if not str(url.database).startswith("file:"):
        return Path(str(url.database))
    path = unquote(str(url.database).removeprefix("file:").partition("?")[0])
    in_memory = path in ("", ":memory:") or url.query.get("mode") == "memory"
    return None if in_memory else Path(path)


def require_ledger_file(url: URL) -> None:
    """See that a SQLite URL names a file with a ledger in it, without touching what is there.

    Raises:
        DatabaseNotFoundError: There is no file, or it holds something else.
    """
    file = file_of(url)
    if file is None:
        return
    if not file.is_file():
        raise DatabaseNotFoundError(url=shown(url), detail="there is no such file")
    try:
        # Read only: our own settings would turn any SQLite file into a WAL one.
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            found = connection.execute(_LEDGER_TABLE).fetchone()
    except sqlite3.OperationalError:
        return  # it cannot be read this way; opening it says why
    except sqlite3.DatabaseError as error:
        raise DatabaseCorruptError(url=shown(url), detail=str(error), code=error.sqlite_errorname) from error
    if found is None:
        raise DatabaseNotFoundError(url=shown(url), detail="the file holds something else, or nothing")


_LEDGER_TABLE = "SELECT 1 FROM sqlite_master WHERE name IN ('operator_core_version', 'kill_switch')"
