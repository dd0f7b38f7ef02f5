"""A database URL as text, parsed strictly. No error repeats its input, because any part may be a password."""

import re
import unicodedata
from urllib.parse import unquote_to_bytes

from sqlalchemy.engine import URL

from operator_core.actions.errors import DatabaseUrlError

MAX_PORT = 65535

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*(\+[A-Za-z0-9_.-]+)?")
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HOST = re.compile(r"\w(?:[\w.-]*[\w.])?")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?")
_PORT = re.compile(r"[0-9]{1,5}")
_MAX_HOST = 253  # bytes, RFC 1035
_LOOKS_LIKE_A_FILE = re.compile(r"[\w./\\ -]{0,200}\.(?:db|sqlite3?)")
_ENGINE_WORD = re.compile(r"\s*(?:postgres|postgresql|sqlite|mysql|mariadb|jdbc)(?:\+\w+)?\s*[:=]", re.IGNORECASE)

UNREADABLE = (
    "this database URL cannot be read; it is written postgresql://user:password@host:port/name, "
    "with special characters in the password percent-encoded"
)


def parse(text: str) -> URL:
    """Return the URL that a text means, with everything decoded but its options unchecked.

    Raises:
        DatabaseUrlError: The text is not a URL, or is ambiguous.
    """
    require_printable(text, "this database URL")
    if text != text.strip():
        raise DatabaseUrlError("this database URL begins or ends with a space")
    scheme, separator, rest = text.partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        raise _not_a_url(text)
    if scheme.partition("+")[0] == "sqlite":
        return _parse_file(scheme, rest)
    return _parse_server(scheme, rest)


def _not_a_url(text: str) -> DatabaseUrlError:
    if any(sign in text for sign in "@=:"):
        return DatabaseUrlError(UNREADABLE)
    file = text if _LOOKS_LIKE_A_FILE.fullmatch(text) else "ops.db"
    subject = repr(text) if file == text else "this text"
    return DatabaseUrlError(
        f"{subject} is not a database URL. For a file write Path({file!r}) or 'sqlite:///{file}', "
        "for a server 'postgresql://user@host/name'"
    )


def looks_like_a_url(text: str) -> bool:
    """Return whether a text that should name a file could be a mistyped URL, and so hold a password.

    A file with such a name can be given as `./name`.
    """
    if text.startswith(("./", "../", ".\\", "..\\")):
        return False
    without_drive = text[2:] if re.match(r"[A-Za-z]:[\\/]", text) else text
    decoded = unquote_to_bytes(without_drive.encode(errors="surrogateescape")).decode(errors="replace")
    return bool(_ENGINE_WORD.match(text)) or any(sign in decoded for sign in "@:=?")


# -- parts -------------------------------------------------------------------------------------------------------------


def _parse_file(scheme: str, rest: str) -> URL:
    place, _, query = rest.partition("?")
    host, slash, path = place.partition("/")
    if host:
        raise DatabaseUrlError(
            "SQLite has no host, user or password: write sqlite:///ops.db for a file in the current folder, "
            "sqlite:////srv/ops.db for an absolute path, sqlite:// for a database in memory"
        )
    database = _decoded(path, "the path") if slash else None
    return URL.create(scheme, database=database, query=_parse_query(query))


def _parse_server(scheme: str, rest: str) -> URL:
    user_info, at, place = rest.rpartition("@")
    username, colon, password = user_info.partition(":")
    # A second @, or one after a ?, could belong to the password or to what follows it.
    if any(sign in username for sign in "@/#;&=") or "@" in password or "?" in user_info:
        raise DatabaseUrlError(UNREADABLE)
    place, _, query = place.partition("?")
    hosts, _, database = place.partition("/")
    if any(sign in database for sign in "/#:;&=") or any(sign in hosts for sign in "#\\"):
        raise DatabaseUrlError(UNREADABLE)
    options = _parse_query(query)
    host, port = (None, None)
    if "," in hosts or _decoded(hosts, "the host").startswith("/"):
        if "host" in options:
            raise DatabaseUrlError("the host is given twice in this database URL: before the / and as an option")
        options["host"] = _decoded(hosts, "the host")
    else:
        host, port = _split_port(_decoded(hosts, "the host"))
    return URL.create(
        scheme,
        username=_decoded(username, "the user") if at and username else None,
        password=_decoded(password, "the password", any_character=True) if colon else None,
        host=host or None,
        port=port,
        database=_decoded(database, "the name of the database") or None,
        query=options,
    )


def _parse_query(query: str) -> dict[str, str | tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for pair in query.split("&"):
        name, _, value = pair.replace("+", " ").partition("=")
        if pair:
            found.setdefault(_decoded(name, "an option"), []).append(_decoded(value, "an option", any_character=True))
    return {name: values[0] if len(values) == 1 else tuple(values) for name, values in found.items()}


def _decoded(text: str, what: str, *, any_character: bool = False) -> str:
    if _LONE_PERCENT.search(text):
        raise DatabaseUrlError(
            f"{what} in this database URL has a % that is not followed by two hexadecimal digits; "
            "the percent sign itself is written %25"
        )
    # Not strictly: an exception would hold the text.
    decoded = unquote_to_bytes(text).decode("utf-8", errors="surrogateescape")
    if any("\ud800" <= character <= "\udfff" for character in decoded):
        raise DatabaseUrlError(f"{what} in this database URL is not UTF-8 when it is percent-decoded")
    if any_character:
        _require_no_nul(decoded, what)
    else:
        require_printable(decoded, f"{what} in this database URL")
    return decoded


def require_printable(text: str, what: str) -> None:
    """Raise `DatabaseUrlError` for line breaks, tabs, other control characters, and lone surrogates."""
    # Cc: control characters; Cs: halves of a surrogate pair; Zl and Zp: line breaks of Unicode
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text):
        raise DatabaseUrlError(
            f"{what} holds a line break, a tab or another control character; "
            "was it read from a file that ends with a line break?"
        )


def _require_no_nul(text: str, what: str) -> None:
    if "\0" in text:
        raise DatabaseUrlError(f"{what} in this database URL holds the character NUL, which no server can be given")


# -- hosts -------------------------------------------------------------------------------------------------------------


def hosts_of(url: URL) -> list[tuple[str, int | None]]:
    """Return the hosts and ports of a server's URL in their order; empty if the driver chooses.

    They stand before the `/` (`h1:5432,h2:5432`), or in the options `host` and `port`, once or several times.

    Raises:
        DatabaseUrlError: A host or port is invalid, or is given in two places.
    """
    ports = [_read_port(port) for port in _listed(url.query.get("port"))]
    hosts = [_split_port(host) for host in _listed(url.query.get("host"))]
    if (url.host and hosts) or (url.port is not None and ports):
        raise DatabaseUrlError("the host or the port is given twice in this database URL: as an option too")
    if url.host:
        hosts = [_split_port(f"[{url.host}]" if _is_ipv6(url.host) else url.host)]
    if url.port is not None:
        ports = [_read_port(str(url.port))]
    if any(not host for host, _ in hosts):
        raise DatabaseUrlError("a host in this database URL is empty")
    if not ports:
        return hosts
    if any(port is not None for _, port in hosts):
        raise DatabaseUrlError("the port is given twice in this database URL: behind its host and as an option")
    if len(ports) == 1:
        return [(host, ports[0]) for host, _ in hosts or [("", None)]]
    if len(ports) != len(hosts):
        raise DatabaseUrlError("this database URL has more hosts than ports, or fewer: give one port, or one for each")
    return [(host, port) for (host, _), port in zip(hosts, ports, strict=True)]


def _listed(value: str | tuple[str, ...] | None) -> list[str]:
    values = () if value is None else (value,) if isinstance(value, str) else value
    return [part for text in values for part in text.split(",")]


def _split_port(text: str) -> tuple[str, int | None]:
    if text.startswith("/"):
        return _require_socket_folder(text), None
    if _is_ipv6(text) or text.endswith("]") or ":" not in text:
        return _require_host(text), None
    host, _, port = text.rpartition(":")
    return _require_host(host), _read_port(port)


def _is_ipv6(text: str) -> bool:
    return text.count(":") > 1 and not text.startswith("[")


def _require_host(text: str) -> str:
    if text.startswith("[") and text.endswith("]") and ":" in text:
        text = text[1:-1]
    if text and not (_IPV6.fullmatch(text) if ":" in text else _HOST.fullmatch(text) and _is_encodable(text)):
        raise DatabaseUrlError(
            "this database URL has a host that no server can have; a host is a name or an address, an IPv6 address "
            "stands in brackets, the folder of a Unix socket is given as ?host=/run/postgresql"
        )
    return text


def _is_encodable(host: str) -> bool:
    """Return whether the name can be looked up: it is short, and so is each of its labels."""
    try:
        return 0 < len(host.encode("idna")) <= _MAX_HOST
    except UnicodeError:
        return False


def _require_socket_folder(text: str) -> str:
    if ":" in text:
        raise DatabaseUrlError(
            "the folder of a Unix socket takes its port as an option: ?host=/run/postgresql&port=5433"
        )
    return text


def _read_port(text: str) -> int:
    if not _PORT.fullmatch(text) or not 1 <= int(text) <= MAX_PORT:
        raise DatabaseUrlError(f"a port in this database URL is not a number from 1 to {MAX_PORT}")
    return int(text)
