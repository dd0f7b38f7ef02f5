"""The database that a target means, and its display."""

import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from sqlalchemy.engine import URL

from operator_core.actions.errors import DatabaseCorruptError, DatabaseNotFoundError, DatabaseUrlError
from operator_core.db.engine.driver_options import PGBOUNCER
from operator_core.db.engine.drivers import DRIVERS, driver_named
from operator_core.db.engine.file_names import FileURL, absolute
from operator_core.db.engine.file_watch import require_safe_to_open
from operator_core.db.engine.url_options import is_pgbouncer_url, read_options, shown_options
from operator_core.db.engine.url_text import UNREADABLE, hosts_of, looks_like_a_url, parse, require_printable

URL_VARIABLE = "OPERATOR_CORE_DATABASE_URL"
DEFAULT_PATH = Path("ops.db")

_OTHER_BACKENDS = ("cockroachdb", "mariadb", "mssql", "mysql", "oracle")
_OTHER_DRIVERS = ("pg8000", "psycopg2cffi", "pysqlcipher", "aioodbc")
_MAX_NAME = 63  # bytes of a role or database: a server truncates longer ones
_MAX_FILE_NAME = 255  # bytes, on every file system in use
_HARMLESS_NAME = re.compile(r"[\w.$-]+")
_USER_INFO = re.compile(r"(^|/)[^/]*:[^/]*@")
"""What would be shown with the path of a file, if a server's URL is given with SQLite's scheme."""
_PLACES = {"user": "username", "password": "password", "dbname": "database", "database": "database"}


def resolve_url(target: Path | str | URL | None) -> URL:
    """Return the URL that a target means, with an asynchronous driver in it.

    None means the environment variable `OPERATOR_CORE_DATABASE_URL`, else `ops.db` in the current folder.

    Raises:
        DatabaseUrlError: The text is not a URL, names a database that this library does not support, or has an option
            that cannot be obeyed.
    """
    if isinstance(target, FileURL):
        return target
    if target is None:
        target = os.environ.get(URL_VARIABLE) or DEFAULT_PATH
    if isinstance(target, Path):
        return with_absolute_path(_checked_file(URL.create("sqlite+aiosqlite", database=str(target))))
    url = _with_driver(parse(target) if isinstance(target, str) else target)
    if url.get_backend_name() == "sqlite":
        if _USER_INFO.search(url.database or ""):
            raise DatabaseUrlError(
                "the path of this SQLite URL has a user and a password in it: is it the URL of a server? "
                "The path of a file whose name holds : and @ is given as a Path"
            )
        return with_absolute_path(_checked_file(url))
    return _checked_server(url)


def file_or_url(text: str) -> URL:
    """Return the URL of a text that may also be the path of a file, as on a command line.

    Raises:
        DatabaseUrlError: As in `resolve_url`; or the text is a path that looks like a mistyped URL.
    """
    if "://" in text:
        return resolve_url(text)
    if looks_like_a_url(text):
        raise DatabaseUrlError(
            f"this is neither a file nor a database URL. {UNREADABLE[0].upper()}{UNREADABLE[1:]}. "
            "A file whose name looks like a URL is written ./name or sqlite:///name"
        )
    require_printable(text, "this path")
    return resolve_url(Path(text))


def _with_driver(url: URL) -> URL:
    backend, _, name = url.drivername.partition("+")
    backend = "postgresql" if backend == "postgres" else backend
    known = [driver for driver in DRIVERS if driver.backend == backend]
    if not known:
        other = repr(backend) if backend in _OTHER_BACKENDS else "another database"
        raise DatabaseUrlError(f"operator-core works with sqlite and postgresql, not with {other}")
    driver = driver_named(name) if name else known[0]
    if driver not in known:
        names = " or ".join(each.name for each in known)
        other = repr(name) if name in _OTHER_DRIVERS else "another one"
        raise DatabaseUrlError(f"for {backend} the driver is {names}, not {other}")
    return url.set(drivername=f"{backend}+{driver.name}")


def with_absolute_path(url: URL) -> URL:
    """Return a URL that names the same file after the current folder has changed; its display is unchanged."""
    file = sqlite_path(url)
    return url if file is None else absolute(url, file)


def _checked_file(url: URL) -> URL:
    """Return the checked URL of a SQLite file, with everything that its options say."""
    database = url.database or ""
    if url.host or url.username or url.password:
        raise DatabaseUrlError("SQLite has no host, user or password: for a file write sqlite:///path")
    if "\0" in database or any(len(os.fsencode(part)) > _MAX_FILE_NAME for part in Path(database).parts):
        raise DatabaseUrlError("no file can have such a name: it is too long, or holds the character NUL")
    read_options(url)
    is_uri = database.startswith("file:")
    if is_uri and any(sign in database for sign in "?#"):
        raise DatabaseUrlError("a ? or # stands in the path of this SQLite URL: give options as options, ?mode=ro")
    if url.query and not is_uri:
        raise DatabaseUrlError(
            f"the options of a SQLite URL need a path that begins with file: as in sqlite:///file:ops.db?mode=ro; "
            f"without it SQLite would take no notice of {', '.join(url.query)}"
        )
    if is_uri and url.query.get("uri") == "false":
        raise DatabaseUrlError("uri=false in a SQLite URL contradicts its path, which begins with file:")
    if url.query.get("cache") == "shared" and sqlite_path(url) is not None:
        raise DatabaseUrlError(
            "cache=shared in a SQLite URL needs mode=memory: connections that share the cache of a file lock whole "
            "tables against each other, and a stop could not get in; leave it out"
        )
    return url.update_query_dict({"uri": "true"}) if is_uri else url


def _checked_server(url: URL) -> URL:
    """Return the URL of a server with user, password and database in their places, and only known options."""
    for option, place in _PLACES.items():
        value = url.query.get(option)
        if value is None:
            continue
        if not value or not isinstance(value, str) or getattr(url, place):
            raise DatabaseUrlError(f"{option} is empty or given twice in this database URL")
        parts: dict[str, Any] = {place: value}
        url = url.difference_update_query([option]).set(**parts)
    for part, what in ((url.username, "the user"), (url.database, "the name of the database")):
        require_printable(part or "", f"{what} in this database URL")
        if len((part or "").encode()) > _MAX_NAME:
            raise DatabaseUrlError(f"{what} in this database URL is longer than a server's names, {_MAX_NAME} bytes")
    if "\0" in str(url.password or "") or not _is_unicode(str(url.password or "")):
        raise DatabaseUrlError("the password in this database URL holds a character that no server can be given")
    hosts_of(url)
    read_options(url)
    if is_pgbouncer_url(url):
        _check_for_pgbouncer(url)
    return url


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _check_for_pgbouncer(url: URL) -> None:
    arguments = driver_named(url.get_driver_name()).without_prepared_statements
    for name, value in read_options(url).keyword.items():
        if name in arguments and value != arguments[name]:
            raise DatabaseUrlError(f"behind PgBouncer no statement is prepared: leave {name} out of the database URL")
    if "options" in url.query:
        raise DatabaseUrlError(
            "PgBouncer refuses the settings of a session, so options cannot stand in the database URL; give them to "
            "the role: ALTER ROLE ... SET"
        )


def with_pgbouncer(url: URL) -> URL:
    """Return a URL that says that PgBouncer stands in front of the server.

    Raises:
        DatabaseUrlError: It is not the URL of a server.
    """
    if url.get_backend_name() != "postgresql":
        raise DatabaseUrlError(f"PgBouncer stands in front of PostgreSQL only, not of {display_url(url)}")
    _check_for_pgbouncer(url)
    return url.update_query_dict({PGBOUNCER: "true"})


def display_url(url: URL) -> str:
    """Return a URL as it may be shown: the path of a file, or the parts of a server's URL that cannot be secret."""
    file = sqlite_path(url)
    if file is not None:
        return url.shown_as if isinstance(url, FileURL) and url.shown_as else str(file)
    backend = url.get_backend_name()
    if backend == "sqlite":
        database = url.database or ""
        return f"sqlite:///{database}" if _HARMLESS_NAME.fullmatch(database.replace(":", "")) else "sqlite://"
    user = _harmless(url.username) + (":***" if url.password else "") + "@" if url.username or url.password else ""
    options = "&".join(f"{name}={value}" for name, value in shown_options(url))
    database = f"/{_harmless(url.database)}" if url.database else "/" if options else ""
    return f"{backend}://{user}{_shown_hosts(url)}{database}" + f"?{options}" * bool(options)


def _harmless(text: str | None) -> str:
    return text if text and _HARMLESS_NAME.fullmatch(text) else "***" if text else ""


def _shown_hosts(url: URL) -> str:
    try:
        hosts = hosts_of(url)
    except DatabaseUrlError:  # of a host's engine
        return "***"
    return ",".join(_shown_host(host, port) for host, port in hosts)


def _shown_host(host: str, port: int | None) -> str:
    name = f"[{quote(host, safe=':')}]" if ":" in host else quote(host, safe="")
    return name if port is None else f"{name}:{port}"


def sqlite_path(url: URL) -> Path | None:
    """Return the file of a SQLite URL; None in memory and for a server."""
    if not url.drivername.startswith("sqlite") or url.database in (None, "", ":memory:"):
        return None
    if not str(url.database).startswith("file:"):
        return Path(str(url.database))
    path = unquote(str(url.database).removeprefix("file:").partition("?")[0])
    in_memory = path in ("", ":memory:") or url.query.get("mode") == "memory"
    return None if in_memory else Path(path)


def require_ledger_file(url: URL) -> None:
    """Check that a SQLite URL names a file with a ledger in it, without touching the file.

    Raises:
        DatabaseNotFoundError: There is no file, or it holds something else.
    """
    file = sqlite_path(url)
    if file is None:
        return
    require_safe_to_open(file, display_url(url))
    if not file.exists():
        raise DatabaseNotFoundError(url=display_url(url), detail="there is no such file")
    try:
        # Read only: our own settings would turn any SQLite file into a WAL one.
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            found = connection.execute(_LEDGER_TABLE).fetchone()
    except sqlite3.OperationalError:
        return  # it cannot be read this way; opening it explains why
    except sqlite3.DatabaseError as error:
        raise DatabaseCorruptError(url=display_url(url), detail=str(error), code=error.sqlite_errorname) from error
    if found is None:
        raise DatabaseNotFoundError(url=display_url(url), detail="the file holds something else, or nothing")


_LEDGER_TABLE = "SELECT 1 FROM sqlite_master WHERE name IN ('operator_core_version', 'kill_switch')"
