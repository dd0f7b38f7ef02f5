"""The errors about a database and its schema."""

from dataclasses import dataclass

from operator_core.actions.errors.base import ActionError


class DatabaseError(ActionError):
    """The root of all errors about a database."""


@dataclass(eq=False)
class DatabaseUrlError(DatabaseError):
    """The target of an `ActionDB` is not one that this library can use."""

    http_status = 500
    advice = "correct the URL; a file is given as a `Path`"

    problem: str

    def __str__(self) -> str:
        return self.problem


@dataclass(eq=False)
class MissingDriverError(DatabaseError):
    """The driver that a URL names is not installed."""

    http_status = 500
    advice = "install the extra that the message names"

    driver: str
    extra: str

    def __str__(self) -> str:
        return f"the driver {self.driver} is not installed: pip install 'operator-core[{self.extra}]'"


@dataclass(eq=False)
class EngineVersionError(DatabaseError):
    """The database engine is older than the minimum version that the guarantees require."""

    http_status = 500
    advice = "upgrade SQLite or PostgreSQL"

    engine: str
    version: str
    lowest: str

    def __str__(self) -> str:
        return f"{self.engine} {self.version} is too old: operator-core needs {self.lowest} or newer"


@dataclass(eq=False)
class DatabaseEncodingError(DatabaseError):
    """The database cannot store every text: its encoding is not UTF-8."""

    http_status = 500
    advice = "create the database with the encoding UTF8"

    url: str
    encoding: str

    def __str__(self) -> str:
        return (
            f"{self.url} has the encoding {self.encoding}, which cannot keep every text. Create another database: "
            "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
        )


class SchemaError(DatabaseError):
    """The root of all errors about a schema."""

    http_status = 503


@dataclass(eq=False)
class SchemaOutOfDateError(SchemaError):
    """The schema is behind this library; `current` is None if there is no ledger at all."""

    http_status = 503
    advice = "run the command that the message names, as a step of the deploy"

    url: str
    current: str | None
    expected: str
    command: str

    def __str__(self) -> str:
        found = f"is at revision {self.current}" if self.current else "holds no ledger"
        return f"{self.url} {found}; this version of operator-core needs {self.expected}. Run: {self.command}"


@dataclass(eq=False)
class SchemaTooNewError(SchemaError):
    """The schema is ahead of this library by more than the one revision that it can work with."""

    http_status = 503
    advice = "upgrade operator-core"

    url: str
    current: str
    expected: str

    def __str__(self) -> str:
        return (
            f"{self.url} is at revision {self.current}; this version of operator-core knows {self.expected} "
            "and works with the one after it at most. Upgrade operator-core"
        )


@dataclass(eq=False)
class GuardMissingError(SchemaError):
    """Guards, tables or the latch of the database are missing or altered: without guards, nothing starts."""

    http_status = 503
    advice = "find out who changed the database, then run `operator-core db repair`"

    url: str
    guards: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.url} lacks guards ({'; '.join(self.guards)}). Nothing is started without them. "
            "Find out who did it, then run the statements that are given here, and: operator-core db repair"
        )


@dataclass(eq=False)
class NameTakenError(SchemaError):
    """The database has a foreign object with one of our names, such as a host's own `action_events`."""

    http_status = 500
    advice = "give the ledger a database or a schema of its own"

    url: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.url} has {', '.join(self.names)}, not ours and no part of a ledger, but operator-core needs that "
            "name. Nothing was changed. Give the ledger another database, or on PostgreSQL a schema of its own "
            '(docs/deploy.md, "One database for both")'
        )


@dataclass(eq=False)
class RevisionUnknownError(SchemaError):
    """The tables of a ledger exist, but not the row that names their revision."""

    http_status = 503
    advice = "restore the row of `operator_core_version`, or take the next revision in the host's migrations"

    url: str
    expected: str

    def __str__(self) -> str:
        return (
            f"{self.url} has the tables of a ledger, but operator_core_version does not say at which revision they "
            "are. If a restore has left its row out, restore it too. If a host's own migrations have made the tables, "
            "`operator-core db` leaves them alone: take the next revision there, with run_revisions(op, the revision "
            f"that they made, '{self.expected}') (docs/deploy.md, \"One database for both\")"
        )


@dataclass(eq=False)
class RetryTransactionError(DatabaseError):
    """The database aborted one of two conflicting transactions; nothing of this one was kept."""

    http_status = 503
    advice = "run your transaction again"

    code: str

    def __str__(self) -> str:
        return f"this transaction met another one ({self.code}) and was given up: run your transaction again"


@dataclass(eq=False)
class ConstraintError(DatabaseError):
    """One of the database's constraints refused a row."""

    http_status = 409
    advice = "read the message: a constraint of the database, or a trigger of the host, refused the row"

    code: str
    detail: str

    def __str__(self) -> str:
        return f"the database refused the change ({self.code}): {self.detail}"


@dataclass(eq=False)
class UnreadableRowError(DatabaseError):
    """A row exists, but cannot be read: it is older than the guards, or was written past them.

    Attributes:
        table: The table; empty if the driver does not name it.
        id: The key of the row.
        column: The first unreadable column; None if the row as a whole is refused.
        detail: What is wrong with the value.
        kept: Whether the changes of the call were written all the same.
    """

    http_status = 500
    advice = "look at the row in plain SQL; nothing else depends on it"

    table: str
    id: int | None
    column: str | None
    detail: str
    kept: bool = False

    def __str__(self) -> str:
        row = f"row {self.id} of {self.table}" if self.table else "a row"
        column = f", column {self.column}" if self.column else ""
        written = "What was to be written is written. " if self.kept else ""
        return (
            f"{row} cannot be read{column}: {self.detail}. {written}Nothing else depends on it. "
            "Look at it in plain SQL; what is pending can be cancelled all the same"
        )


@dataclass(eq=False)
class DatabaseUnavailableError(DatabaseError):
    """The database cannot be reached or used now; `code` is the engine's own name for the problem."""

    url: str
    detail: str
    code: str | None = None

    http_status = 503
    advice = "see that the server runs and the URL is right"

    def __str__(self) -> str:
        code = f" ({self.code})" if self.code else ""
        return f"cannot work with {self.url}: {self.detail}{code}; {self.advice}"


class ConnectionLostError(DatabaseUnavailableError):
    """The connection broke during a statement, which may or may not have been committed."""

    advice = "what was under way may have been committed: read the row again before you repeat it"


class DatabaseNotFoundError(DatabaseUnavailableError):
    """There is no such folder, file or database."""

    advice = "create it, or correct the path or URL"


class DatabaseAccessError(DatabaseUnavailableError):
    """The database refused the user, the password or the permission."""

    advice = "check user, password and grants"


class DatabaseLockedError(DatabaseUnavailableError):
    """Another client holds a lock for longer than this connection waits; nothing was changed."""

    advice = "find who holds the lock, or try again"


class DatabaseReadOnlyError(DatabaseUnavailableError):
    """The database cannot be written; nothing was changed."""

    advice = (
        "check the permissions of the file and its folder; on PostgreSQL connect to the primary server, with a role "
        "and an engine whose default_transaction_read_only is off"
    )


class DatabaseFullError(DatabaseUnavailableError):
    """The database has no room left; nothing was changed."""

    http_status = 507
    advice = "make room on the disk and try again"


class DatabaseCorruptError(DatabaseUnavailableError):
    """The file is damaged, or is not a database."""

    advice = "stop all writers and restore a backup; do not delete the file"


class DatabaseReplacedError(DatabaseUnavailableError):
    """The SQLite file or its log was deleted or replaced while open: no other client sees what is written to it."""

    advice = "count on nothing that was under way; open the database anew"


class DatabaseAliasError(DatabaseUnavailableError):
    """The SQLite file or its log has a second name: what is written by one, as a stop, is not seen by the other."""

    advice = "SQLite keeps a log for each name of a file, so a ledger must have one name"


class TooManyOpenFilesError(DatabaseUnavailableError):
    """The process or the machine has no file descriptor left."""

    advice = "no file descriptor is left: close what is not needed, or raise the limit (ulimit -n)"
