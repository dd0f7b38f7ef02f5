"""The table of every option of every driver: how it is read and obeyed, or why it is refused."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

PGBOUNCER = "pgbouncer"
"""The option that says whether PgBouncer, in transaction mode, stands in front of the server."""

UNFIT: Any = object()
"""A reader's result for a text that the option does not accept."""

_MAX_NUMBER = 2**31 - 1
_NAMEDATALEN = 63  # bytes that PostgreSQL keeps of a name


@dataclass(frozen=True)
class Reader:
    """The reader of an option's text; `expects` completes the sentence "it is ...".

    A text that is not `shown` could hold a secret, so it never appears in messages.
    """

    expects: str
    convert: Callable[[str], Any]
    shown: bool = True


@dataclass(frozen=True)
class Obeyed:
    """An option that is obeyed: how it is read, and what takes it.

    A driver takes it as a `keyword` (its own name for it is `name`), only in a `dsn`, or as a `setting` of the session.
    With `always` it is read and then left out, because the driver always behaves that way.
    """

    reader: Reader
    taken_as: Literal["keyword", "dsn", "setting", "settings", "always", "ours"] = "keyword"
    name: str | None = None


@dataclass(frozen=True)
class Refused:
    """An option that is refused; `instead` says how to get its effect."""

    instead: str


Option = Obeyed | Refused


# -- readers -----------------------------------------------------------------------------------------------------------


def _one_of(*names: str, hint: str = "") -> Reader:
    return _mapped({name: name for name in names}, hint)


def _mapped(values: Mapping[str, Any], hint: str = "") -> Reader:
    return Reader(f"{' or '.join(values)}{hint}", lambda text: values.get(text.lower(), UNFIT))


def _whole(text: str, lowest: int = 0) -> Any:
    return int(text) if re.fullmatch(r"[0-9]{1,10}", text) and lowest <= int(text) <= _MAX_NUMBER else UNFIT


def _seconds(text: str) -> Any:
    is_number = re.fullmatch(r"[0-9]{1,7}(\.[0-9]{1,9})?", text) and float(text) > 0
    return float(text) if is_number else UNFIT


def _file(text: str) -> Any:
    try:
        is_there = os.access(text, os.R_OK) and Path(text).is_file()
    except (OSError, ValueError):
        is_there = False
    return text if is_there else UNFIT


def _settings(text: str) -> Any:
    """Return the settings of `-c name=value`, separated as libpq does, with a backslash as the escape character."""
    words = [re.sub(r"\\(.)", r"\1", word) for word in re.findall(r"(?:\\.|[^\s\\])+", text)]
    found: dict[str, str] = {}
    while words:
        word = words.pop(0)
        if word == "-c" and words:
            word = words.pop(0)
        elif word.startswith(("-c", "--")):
            word = word[2:]
        else:
            return UNFIT
        name, equals, value = word.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][\w.-]*", name, re.ASCII):
            return UNFIT
        found[name.lower().replace("-", "_")] = value
    return found or UNFIT


def _matching(pattern: str) -> Callable[[str], Any]:
    return lambda text: text if re.fullmatch(pattern, text) else UNFIT


def _addresses(text: str) -> Any:
    try:
        return ",".join(str(ip_address(address)) for address in text.split(","))
    except ValueError:
        return UNFIT


_FLAG = _mapped({"true": True, "false": False})
_NUMBER = Reader("a whole number, 0 or more", _whole)
_COUNT = Reader("a whole number of seconds, 1 or more", lambda text: _whole(text, 1))
_SECONDS = Reader("a number of seconds above 0", _seconds)
_ZERO_OR_ONE = _one_of("0", "1")
_TEXT = Reader(
    "a text without the character NUL, not empty", lambda text: UNFIT if "\0" in text else text or UNFIT, shown=False
)
_FILE = Reader("a file that is there and may be read", _file, shown=False)
_CERTIFICATES = Reader(
    "a file that is there and may be read, or system",
    lambda text: text if text == "system" else _file(text),
    shown=False,
)
_SETTINGS = Reader("written -c name=value, several times if need be", _settings, shown=False)
_APPLICATION = Reader(
    f"a text of at most {_NAMEDATALEN} printable ASCII characters",
    _matching(r"[ -~]{1,63}"),
    shown=False,
)
_NAME = Reader("a name: letters, digits, and . _ -", _matching(r"[\w.-]+"), shown=False)
_ADDRESSES = Reader("an IP address, or several with commas between", _addresses)
_PROTOCOLS = _one_of("3.0", "3.2", "latest")
_METHODS = r"!?(password|md5|gss|sspi|scram-sha-256|oauth|none)"
_AUTHENTICATIONS = Reader("a list of libpq's methods of authentication", _matching(rf"{_METHODS}(,{_METHODS})*"))
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_TLS_VERSIONS = _mapped({f"tlsv1{minor}": f"TLSv1{minor}" for minor in ("", ".1", ".2", ".3")})
_SESSIONS = _one_of("any", "primary", "standby", "read-write", "read-only", "prefer-standby")
_UTF8 = _mapped(dict.fromkeys(("utf8", "utf-8", "unicode"), "utf8"), ": the ledger is kept in Unicode")

# -- PostgreSQL --------------------------------------------------------------------------------------------------------

_BY_PSYCOPG = Refused("asyncpg has no such option; postgresql+psycopg:// obeys it")
_BY_AN_ENGINE = Refused("it is not a text; make an engine with it in connect_args, and give that engine to ActionDB")
_WRITTEN_OUT = Refused("write what it says into the URL itself")
_ELSE_PSYCOPG = " with asyncpg; postgresql+psycopg:// knows more"

_SERVICE_FILE = Refused("name the file in the environment variable PGSERVICEFILE")
_CACHES = (
    *("statement_cache_size", "prepared_statement_cache_size"),
    *("max_cached_statement_lifetime", "max_cacheable_statement_size"),
)

_EITHER: dict[str, Option] = {
    PGBOUNCER: Obeyed(_FLAG, "ours"),
    "application_name": Obeyed(_APPLICATION, "setting"),
    "options": Obeyed(_SETTINGS, "settings"),
    "passfile": Obeyed(_FILE),
    "krbsrvname": Obeyed(_NAME),
    "gsslib": Obeyed(_one_of("gssapi", "sspi")),
    "target_session_attrs": Obeyed(_SESSIONS),
    "fallback_application_name": Refused("write application_name: that one is always set"),
    "replication": Refused("a session for replication takes none of the ledger's statements; leave it out"),
    "isolation_level": Refused("each call takes the level that it needs; leave it out"),
    "async_fallback": Refused("it is for synchronous engines; leave it out"),
    "dsn": _WRITTEN_OUT,
    "conninfo": _WRITTEN_OUT,
    "server_settings": Refused("write options=-c%20name=value, or give the setting to the role: ALTER ROLE ... SET"),
}

_PSYCOPG: dict[str, Option] = {
    **_EITHER,
    "connect_timeout": Obeyed(_COUNT),
    "prepare_threshold": Obeyed(
        Reader("a whole number, 0 or more, or none", lambda text: None if text == "none" else _whole(text))
    ),
    "client_encoding": Obeyed(_UTF8),
    **dict.fromkeys(("service", "requirepeer"), Obeyed(_NAME)),
    "hostaddr": Obeyed(_ADDRESSES),
    **dict.fromkeys(("keepalives", "sslcompression", "sslsni", "gssdelegation"), Obeyed(_ZERO_OR_ONE)),
    **dict.fromkeys(
        ("keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"), Obeyed(_NUMBER)
    ),
    "sslmode": Obeyed(_one_of(*_SSL_MODES)),
    "sslnegotiation": Obeyed(_one_of("postgres", "direct")),
    "sslcert": Obeyed(_FILE),
    "sslkey": Obeyed(_TEXT),  # a file, or the name of a key in an engine of OpenSSL
    "sslcertmode": Obeyed(_one_of("disable", "allow", "require")),
    "sslrootcert": Obeyed(_CERTIFICATES),
    "sslcrl": Obeyed(_FILE),
    **dict.fromkeys(("ssl_min_protocol_version", "ssl_max_protocol_version"), Obeyed(_TLS_VERSIONS)),
    **dict.fromkeys(("channel_binding", "gssencmode"), Obeyed(_one_of("disable", "prefer", "require"))),
    "load_balance_hosts": Obeyed(_one_of("disable", "random")),
    "require_auth": Obeyed(_AUTHENTICATIONS),
    **dict.fromkeys(("min_protocol_version", "max_protocol_version"), Obeyed(_PROTOCOLS)),
    **dict.fromkeys(
        ("sslpassword", "sslcrldir", "sslkeylogfile", "scram_client_key", "scram_server_key"), Obeyed(_TEXT)
    ),
    **dict.fromkeys(("oauth_issuer", "oauth_client_id", "oauth_client_secret", "oauth_scope"), Obeyed(_TEXT)),
    "servicefile": _SERVICE_FILE,
    "autocommit": Refused("each call begins what it needs; leave it out"),
    **dict.fromkeys(("context", "row_factory", "cursor_factory"), _BY_AN_ENGINE),
    "timeout": Refused("psycopg calls it connect_timeout"),
    "ssl": Refused("psycopg calls it sslmode"),
    "direct_tls": Refused("psycopg calls it sslnegotiation=direct"),
    "command_timeout": Refused("it is asyncpg's; every statement has a timeout of the server already"),
    **dict.fromkeys(_CACHES, Refused("it is asyncpg's; psycopg has prepare_threshold")),
}

_OF_ASYNCPG: dict[str, Option] = {
    **_EITHER,
    "timeout": Obeyed(_SECONDS),
    "connect_timeout": Obeyed(_COUNT, name="timeout"),
    "command_timeout": Obeyed(_SECONDS),
    **dict.fromkeys(_CACHES, Obeyed(_NUMBER)),
    "ssl": Obeyed(_mapped({"true": True, "false": False, **{mode: mode for mode in _SSL_MODES}})),
    "sslmode": Obeyed(_one_of(*_SSL_MODES), name="ssl"),
    "direct_tls": Obeyed(_FLAG),
    "sslnegotiation": Obeyed(_mapped({"postgres": False, "direct": True}), name="direct_tls"),
    **dict.fromkeys(("sslcert", "sslkey", "sslrootcert", "sslcrl"), Obeyed(_FILE, "dsn")),
    "sslpassword": Obeyed(_TEXT, "dsn"),
    **dict.fromkeys(("ssl_min_protocol_version", "ssl_max_protocol_version"), Obeyed(_TLS_VERSIONS, "dsn")),
    "client_encoding": Obeyed(_UTF8, "always"),
    **dict.fromkeys(
        ("channel_binding", "gssencmode"), Obeyed(_one_of("disable", "prefer", hint=_ELSE_PSYCOPG), "always")
    ),
    "load_balance_hosts": Obeyed(_one_of("disable", hint=_ELSE_PSYCOPG), "always"),
    "sslsni": Obeyed(_one_of("1", hint=_ELSE_PSYCOPG), "always"),
    "sslcertmode": Obeyed(_one_of("allow", hint=_ELSE_PSYCOPG), "always"),
    **dict.fromkeys(("sslcompression", "gssdelegation"), Obeyed(_one_of("0", hint=_ELSE_PSYCOPG), "always")),
    **dict.fromkeys(("loop", "connection_class", "record_class", "prepared_statement_name_func"), _BY_AN_ENGINE),
    "prepare_threshold": Refused("it is psycopg's; asyncpg has statement_cache_size"),
    "servicefile": _SERVICE_FILE,
}
_ASYNCPG = {name: _BY_PSYCOPG for name, option in _PSYCOPG.items() if isinstance(option, Obeyed)} | _OF_ASYNCPG

# -- SQLite ------------------------------------------------------------------------------------------------------------

_AIOSQLITE: dict[str, Option] = {
    "uri": Obeyed(_FLAG, "ours"),
    "mode": Obeyed(_one_of("ro", "rw", "rwc", "memory"), "ours"),
    "cache": Obeyed(_one_of("shared", "private"), "ours"),
    "psow": Obeyed(_one_of("0", "1", "on", "off", "true", "false", "yes", "no"), "ours"),
    "nolock": Obeyed(_mapped({"0": "0"}, ": two writers without locks destroy the file"), "ours"),
    "immutable": Obeyed(_mapped({"0": "0"}, ": the file of a ledger changes, and a reader has to notice"), "ours"),
    "vfs": Refused("the promises are tested with the one that SQLite has for this system; leave it out"),
    "timeout": Refused("write ActionDB(..., lock_timeout=seconds); a command has --timeout or --lock-timeout"),
    "isolation_level": Refused("each call begins what it needs; leave it out"),
    "check_same_thread": Refused("each connection has a thread of its own; leave it out"),
    "detect_types": Refused("columns are read by their own types; leave it out"),
    "cached_statements": Refused("make an engine with it, call configure_engine, and give that to ActionDB"),
    "iter_chunk_size": Refused("make an engine with it, call configure_engine, and give that to ActionDB"),
    "loop": Refused("a connection belongs to the loop that opens it; leave it out"),
    PGBOUNCER: Refused("PgBouncer stands in front of PostgreSQL only; leave it out"),
}

OPTIONS: Mapping[str, Mapping[str, Option]] = {"asyncpg": _ASYNCPG, "psycopg": _PSYCOPG, "aiosqlite": _AIOSQLITE}
"""Every option by driver. The options of the place, `HOST_OPTIONS`, and of the user are read elsewhere."""
