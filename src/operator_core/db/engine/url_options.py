"""The options of a database URL, read by the table of its driver: obeyed or refused, never silently dropped."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from sqlalchemy.engine import URL

from operator_core.actions.errors import DatabaseUrlError
from operator_core.db.engine.driver_options import PGBOUNCER, UNFIT, Obeyed, Option, Refused
from operator_core.db.engine.drivers import DRIVERS, driver_named

HOST_OPTIONS = ("host", "port")
"""Options that name a place, as `hosts_of` reads them."""

PINNED: Mapping[str, str] = {
    "timezone": "UTC",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "quote_all_identifiers": "off",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "exit_on_error": "off",
    "statement_timeout": "300000",
    "idle_in_transaction_session_timeout": "60000",
    "idle_session_timeout": "0",
    "jit": "off",
}
"""The settings of each of our sessions, whatever the server, the database or the role says: see docs/adr/0016."""

_ELSEWHERE = ("client_encoding", "lock_timeout", "session_replication_role", "transaction_timeout")
PINNED_SETTINGS = frozenset({*PINNED, *_ELSEWHERE})
"""Session settings that the guarantees depend on: the library sets or checks them, so a URL cannot."""


@dataclass
class Options:
    """The options of a URL, with the values that the driver takes."""

    keyword: dict[str, Any] = field(default_factory=dict)
    dsn: dict[str, Any] = field(default_factory=dict)
    setting: dict[str, str] = field(default_factory=dict)

    def add(self, option: Obeyed, key: str, value: Any) -> None:
        """Add the value of an option, unless the driver always behaves that way, or the library itself obeys it."""
        if option.taken_as in ("keyword", "dsn", "setting"):
            getattr(self, option.taken_as)[key] = value
        elif option.taken_as == "settings":
            _require_free(value)
            self.setting = {**value, **self.setting}


def _known(url: URL) -> Mapping[str, Option]:
    return driver_named(url.get_driver_name()).options


def read_options(url: URL) -> Options:
    """Return the options of a URL with the values that its driver takes.

    Raises:
        DatabaseUrlError: An option is unknown, refused, given twice, or has an invalid value. The error repeats nothing
            from the URL but the names of known options.
    """
    known, found, taken = _known(url), Options(), dict[str, str]()
    for position, (name, value) in enumerate(url.query.items(), start=1):
        if name in HOST_OPTIONS and url.get_backend_name() == "postgresql":
            continue
        option = known.get(name)
        if option is None:
            raise DatabaseUrlError(_unknown(position, name, url.get_driver_name(), known))
        if isinstance(option, Refused):
            raise DatabaseUrlError(f"the option {name} of this database URL is refused: {option.instead}")
        if not isinstance(value, str):
            raise DatabaseUrlError(f"the option {name} is given twice in this database URL")
        key = option.name or name
        if key in taken:
            raise DatabaseUrlError(f"the options {taken[key]} and {name} of this database URL mean the same: give one")
        taken[key] = name
        found.add(option, key, _read(name, option, value))
    return found


def _unknown(position: int, name: str, driver: str, known: Mapping[str, Option]) -> str:
    others = [other.name for other in DRIVERS if name in other.options]
    if others:
        return f"the option {name} of this database URL is one of {' and '.join(others)}, not of {driver}; leave it out"
    near = get_close_matches(name.lower(), [*known, *HOST_OPTIONS], n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"option number {position} of this database URL is not one that {driver} or this library has{hint}"


def _read(name: str, option: Obeyed, text: str) -> Any:
    value = option.reader.convert(text)
    if value is UNFIT:
        raise DatabaseUrlError(f"the option {name} of this database URL cannot be that; it is {option.reader.expects}")
    return value


def _require_free(settings: Mapping[str, str]) -> None:
    pinned = sorted(PINNED_SETTINGS & settings.keys())
    if pinned:
        raise DatabaseUrlError(
            f"options in this database URL sets {', '.join(pinned)}, which the promises rest on; "
            "the library sees to it itself: leave it out"
        )


def is_pgbouncer_url(url: URL) -> bool:
    """Return whether a URL says that PgBouncer stands in front of the server."""
    return url.query.get(PGBOUNCER) == "true"


def shown_options(url: URL) -> Iterator[tuple[str, str]]:
    """Yield the options of a URL as they may be shown: any free text could hold a secret."""
    for name, value in url.query.items():
        option = _known(url).get(name)
        if name in HOST_OPTIONS or not isinstance(option, Obeyed):
            continue
        is_fit = isinstance(value, str) and option.reader.shown and option.reader.convert(value) is not UNFIT
        yield name, str(value) if is_fit else "***"
