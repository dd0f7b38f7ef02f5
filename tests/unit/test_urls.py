"""What a database URL may say: every option of the drivers is obeyed or refused, and nothing is read in two ways."""

import inspect
import re
import sqlite3
from pathlib import Path
from urllib.parse import quote

import aiosqlite
import asyncpg
import pytest
from psycopg import AsyncConnection, pq
from sqlalchemy.engine import URL, make_url

from operator_core.actions import DatabaseUrlError
from operator_core.db import ActionDB
from operator_core.db.engine.driver_options import OPTIONS, Obeyed, Refused
from operator_core.db.engine.drivers import driver_named
from operator_core.db.engine.postgresql import _settings, connect_arguments
from operator_core.db.engine.url_options import HOST_OPTIONS, PINNED_SETTINGS, read_options
from operator_core.db.engine.url_text import hosts_of
from operator_core.db.engine.urls import display_url, file_or_url, resolve_url, sqlite_path

SECRET = "hunter2"  # noqa: S105 - it must not be seen
DEPLOY = Path(__file__).parents[2] / "docs" / "deploy.md"
SERVERS = {"asyncpg": "postgresql+asyncpg://h/d", "psycopg": "postgresql+psycopg://h/d"}
FILE = "sqlite:///file:ops.db"
PLACES = {"host", "port", "user", "password", "dbname", "database"}
"""Options that are another way to write the parts of a URL."""


def parameters(function: object) -> set[str]:
    """Return the names of what a function takes."""
    return {name for name in inspect.signature(function).parameters if name not in ("self", "kwargs", "conninfo")}


def with_option(driver: str, name: str, value: str) -> URL:
    """Return the URL of a server or file with an option."""
    return make_url(SERVERS.get(driver, FILE)).update_query_dict({name: value})


# -- the table ---------------------------------------------------------------------------------------------------------


def test_every_parameter_of_asyncpg_is_in_the_table() -> None:
    assert parameters(asyncpg.connect) - PLACES - set(OPTIONS["asyncpg"]) == set()


def test_every_parameter_of_psycopg_and_keyword_of_libpq_is_in_both_tables() -> None:
    libpq = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}

    assert (libpq | parameters(AsyncConnection.connect)) - PLACES - set(OPTIONS["psycopg"]) == set()
    assert libpq - PLACES - set(OPTIONS["asyncpg"]) == set()


def test_every_parameter_of_sqlite_is_in_the_table() -> None:
    documented = re.findall(r"[a-z_]+(?=[,=)\]])", (sqlite3.connect.__doc__ or "").split("\n\n", 1)[0])
    known = {"timeout", "detect_types", "isolation_level", "check_same_thread", "cached_statements", "uri"}

    names = (set(documented) | known | parameters(aiosqlite.connect)) - {"database", "factory", "autocommit", "connect"}
    assert names - set(OPTIONS["aiosqlite"]) == set()


OPTIONS_OF_SQLALCHEMY = {
    "asyncpg": ("prepared_statement_cache_size", "prepared_statement_name_func", "async_fallback"),
    "psycopg": ("client_encoding",),
    "aiosqlite": ("uri", "timeout", "isolation_level", "detect_types", "check_same_thread", "cached_statements"),
}


@pytest.mark.parametrize("driver", OPTIONS_OF_SQLALCHEMY)
def test_every_option_of_a_dialect_is_in_the_table(driver: str) -> None:
    assert set(OPTIONS_OF_SQLALCHEMY[driver]) <= set(OPTIONS[driver])


ALL = [(driver, name) for driver, table in OPTIONS.items() for name in table]


@pytest.mark.parametrize(("driver", "name"), [pair for pair in ALL if isinstance(OPTIONS[pair[0]][pair[1]], Refused)])
def test_a_refused_option_is_named_with_the_way_to_get_what_it_asks_for(driver: str, name: str) -> None:
    with pytest.raises(DatabaseUrlError) as caught:
        resolve_url(with_option(driver, name, SECRET))

    option = OPTIONS[driver][name]
    assert isinstance(option, Refused)
    assert str(caught.value) == f"the option {name} of this database URL is refused: {option.instead}"


@pytest.mark.parametrize(("driver", "name"), [pair for pair in ALL if isinstance(OPTIONS[pair[0]][pair[1]], Obeyed)])
def test_a_value_that_an_option_cannot_have_is_refused_without_being_repeated(driver: str, name: str) -> None:
    with pytest.raises(DatabaseUrlError) as caught:
        resolve_url(with_option(driver, name, "\0"))

    assert str(caught.value).startswith(f"the option {name} of this database URL")


SAMPLES = {
    "asyncpg": {
        "timeout": ("2.5", "timeout", 2.5),
        "connect_timeout": ("3", "timeout", 3),
        "command_timeout": ("60", "command_timeout", 60.0),
        "statement_cache_size": ("0", "statement_cache_size", 0),
        "max_cached_statement_lifetime": ("10", "max_cached_statement_lifetime", 10),
        "max_cacheable_statement_size": ("0", "max_cacheable_statement_size", 0),
        "prepared_statement_cache_size": ("0", "prepared_statement_cache_size", 0),
        "ssl": ("true", "ssl", True),
        "sslmode": ("require", "ssl", "require"),
        "direct_tls": ("true", "direct_tls", True),
        "sslnegotiation": ("direct", "direct_tls", True),
        "sslcert": (__file__, "dsn", f"postgresql://?sslcert={quote(__file__, safe='')}"),
        "sslkey": (__file__, "dsn", f"postgresql://?sslkey={quote(__file__, safe='')}"),
        "sslrootcert": (__file__, "dsn", f"postgresql://?sslrootcert={quote(__file__, safe='')}"),
        "sslcrl": (__file__, "dsn", f"postgresql://?sslcrl={quote(__file__, safe='')}"),
        "sslpassword": ("p q", "dsn", "postgresql://?sslpassword=p%20q"),
        "ssl_min_protocol_version": ("TLSv1.2", "dsn", "postgresql://?ssl_min_protocol_version=TLSv1.2"),
        "ssl_max_protocol_version": ("tlsv1.3", "dsn", "postgresql://?ssl_max_protocol_version=TLSv1.3"),
        "target_session_attrs": ("read-write", "target_session_attrs", "read-write"),
        "passfile": (__file__, "passfile", __file__),
        "krbsrvname": ("pg", "krbsrvname", "pg"),
        "gsslib": ("gssapi", "gsslib", "gssapi"),
    },
    "psycopg": {
        "connect_timeout": ("3", "connect_timeout", 3),
        "prepare_threshold": ("0", "prepare_threshold", 0),
        "client_encoding": ("UTF-8", "client_encoding", "utf8"),
        "service": ("mine", "service", "mine"),
        "hostaddr": ("10.0.0.1", "hostaddr", "10.0.0.1"),
        "keepalives": ("0", "keepalives", "0"),
        "keepalives_idle": ("30", "keepalives_idle", 30),
        "keepalives_interval": ("5", "keepalives_interval", 5),
        "keepalives_count": ("3", "keepalives_count", 3),
        "tcp_user_timeout": ("1000", "tcp_user_timeout", 1000),
        "sslmode": ("verify-full", "sslmode", "verify-full"),
        "sslnegotiation": ("direct", "sslnegotiation", "direct"),
        "sslcompression": ("1", "sslcompression", "1"),
        "sslsni": ("0", "sslsni", "0"),
        "gssdelegation": ("1", "gssdelegation", "1"),
        "sslcert": (__file__, "sslcert", __file__),
        "sslkey": (__file__, "sslkey", __file__),
        "sslcertmode": ("disable", "sslcertmode", "disable"),
        "sslrootcert": ("system", "sslrootcert", "system"),
        "sslcrl": (__file__, "sslcrl", __file__),
        "ssl_min_protocol_version": ("TLSv1.3", "ssl_min_protocol_version", "TLSv1.3"),
        "ssl_max_protocol_version": ("TLSv1.3", "ssl_max_protocol_version", "TLSv1.3"),
        "channel_binding": ("require", "channel_binding", "require"),
        "gssencmode": ("disable", "gssencmode", "disable"),
        "load_balance_hosts": ("random", "load_balance_hosts", "random"),
        "target_session_attrs": ("standby", "target_session_attrs", "standby"),
        "passfile": (__file__, "passfile", __file__),
        "krbsrvname": ("pg", "krbsrvname", "pg"),
        "gsslib": ("gssapi", "gsslib", "gssapi"),
        "requirepeer": ("postgres", "requirepeer", "postgres"),
        "require_auth": ("md5,!none", "require_auth", "md5,!none"),
        "min_protocol_version": ("3.0", "min_protocol_version", "3.0"),
        "max_protocol_version": ("latest", "max_protocol_version", "latest"),
        **{
            name: ("a text", name, "a text")
            for name in (
                "sslpassword",
                "sslcrldir",
                "sslkeylogfile",
                "scram_client_key",
                "scram_server_key",
                "oauth_issuer",
                "oauth_client_id",
                "oauth_client_secret",
                "oauth_scope",
            )
        },
    },
}


@pytest.mark.parametrize("driver", SAMPLES)
def test_every_option_that_a_driver_takes_has_a_sample(driver: str) -> None:
    taken = [name for name, option in OPTIONS[driver].items() if isinstance(option, Obeyed)]

    assert {name for name in taken if OPTIONS[driver][name].taken_as in ("keyword", "dsn")} == set(SAMPLES[driver])


@pytest.mark.parametrize(("driver", "name"), [(driver, name) for driver in SAMPLES for name in SAMPLES[driver]])
def test_an_option_reaches_its_driver_in_the_type_that_it_takes(
    driver: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, keyword, value = SAMPLES[driver][name]
    monkeypatch.setattr(type(driver_named(driver)), "require_supported", lambda *_: None)

    found = connect_arguments(resolve_url(with_option(driver, name, text)), {"application_name": "x"})[keyword]

    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("name", ["channel_binding", "gssencmode", "load_balance_hosts"])
def test_asyncpg_takes_of_libpq_what_it_does_anyway_and_refuses_what_it_cannot(name: str) -> None:
    resolve_url(with_option("asyncpg", name, "disable"))

    with pytest.raises(DatabaseUrlError, match=r"postgresql\+psycopg:// knows more"):
        resolve_url(with_option("asyncpg", name, "require"))


@pytest.mark.parametrize(("one", "other"), [("timeout", "connect_timeout"), ("ssl", "sslmode")])
def test_two_names_of_one_option_are_refused(one: str, other: str) -> None:
    url = make_url(SERVERS["asyncpg"]).update_query_dict(
        {one: "1", other: "1"} if one == "timeout" else {one: "prefer", other: "prefer"}
    )

    with pytest.raises(DatabaseUrlError, match=f"{one} and {other} of this database URL mean the same"):
        resolve_url(url)


@pytest.mark.parametrize("driver", SERVERS)
def test_an_option_that_is_given_twice_is_refused(driver: str) -> None:
    with pytest.raises(DatabaseUrlError, match="sslmode is given twice"):
        resolve_url(f"{SERVERS[driver]}?sslmode=require&sslmode=disable")


@pytest.mark.parametrize(("driver", "server"), SERVERS.items())
def test_an_unknown_option_is_not_repeated_but_a_near_one_is_named(driver: str, server: str) -> None:
    with pytest.raises(DatabaseUrlError) as caught:
        resolve_url(f"{server}?application_name=x&ssl_mode={SECRET}")

    assert str(caught.value) == (
        f"option number 2 of this database URL is not one that {driver} or this library has; did you mean sslmode?"
    )


def test_an_option_that_the_installed_libpq_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pq.Conninfo, "get_defaults", classmethod(lambda _: []))

    with pytest.raises(DatabaseUrlError, match="sslsni of this database URL needs a newer libpq"):
        connect_arguments(resolve_url(with_option("psycopg", "sslsni", "1")), {"application_name": "x"})


def test_an_option_of_another_driver_is_called_that() -> None:
    with pytest.raises(
        DatabaseUrlError, match="the option mode of this database URL is one of aiosqlite, not of asyncpg"
    ):
        resolve_url("postgresql://h/d?mode=ro")


def documented() -> dict[str, dict[str, str]]:
    """Return the table of docs/deploy.md: what it says of each option, by driver."""
    chapter = DEPLOY.read_text(encoding="utf-8").partition("\n## The URL\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in chapter.splitlines() if line[:1] == "|"]
    return {name: {"asyncpg": row[1], "psycopg": row[2]} for row in rows[2:] for name in re.findall(r"`(\w+)`", row[0])}


@pytest.mark.parametrize("driver", SERVERS)
def test_the_documented_table_is_that_of_the_code(driver: str) -> None:
    obeyed = {name for name, option in OPTIONS[driver].items() if isinstance(option, Obeyed)}

    assert {name for name, told in documented().items() if told[driver].startswith("yes")} == obeyed
    assert set(OPTIONS[driver]) <= set(documented())


def test_every_option_of_sqlite_is_documented() -> None:
    chapter = DEPLOY.read_text(encoding="utf-8").partition("\n## The URL\n")[2].partition("\n## ")[0]

    assert [name for name in OPTIONS["aiosqlite"] if f"`{name}`" not in chapter] == []


# -- settings of a session ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", SERVERS)
@pytest.mark.parametrize("text", ["-c search_path=a", "-csearch_path=a", "--search-path=a", "  --search_path=a "])
def test_settings_are_read_in_every_form_of_libpq(driver: str, text: str) -> None:
    assert read_options(with_option(driver, "options", text)).setting == {"search_path": "a"}


def test_settings_keep_what_stands_behind_a_backslash() -> None:
    url = with_option("asyncpg", "options", r"-c a.b=one\ two\\three -c work_mem=4MB")

    assert read_options(url).setting == {"a.b": r"one two\three", "work_mem": "4MB"}


@pytest.mark.parametrize("driver", SERVERS)
@pytest.mark.parametrize("name", sorted(PINNED_SETTINGS))
def test_a_setting_that_the_promises_rest_on_is_refused(driver: str, name: str) -> None:
    with pytest.raises(DatabaseUrlError, match=f"options in this database URL sets {name}"):
        resolve_url(with_option(driver, "options", f"-c {name.upper()}=x"))


def test_what_the_library_sets_cannot_be_set_by_a_url() -> None:
    assert set(_settings(1.0)) - {"application_name"} <= PINNED_SETTINGS


@pytest.mark.parametrize("text", ["search_path=a", "-c search_path", "-c", "-d 5", "", "-c ö=1", "-f"])
def test_other_words_among_the_settings_are_refused(text: str) -> None:
    with pytest.raises(DatabaseUrlError, match="options of this database URL cannot be that"):
        resolve_url(with_option("psycopg", "options", text))


@pytest.mark.parametrize(
    "option", ["statement_cache_size=100", "prepared_statement_cache_size=1", "options=-c%20a.b=1"]
)
def test_behind_pgbouncer_neither_statements_nor_settings_are_kept_in_a_session(option: str) -> None:
    for text in (f"postgresql://h/d?pgbouncer=true&{option}", f"postgresql://h/d?{option}&pgbouncer=true"):
        with pytest.raises(DatabaseUrlError, match=option.partition("=")[0]):
            resolve_url(text)
    with pytest.raises(DatabaseUrlError, match=option.partition("=")[0]):
        ActionDB(f"postgresql://h/d?{option}", pgbouncer=True)


# -- places ------------------------------------------------------------------------------------------------------------

HOSTS = {
    "h": [("h", None)],
    "h:5433": [("h", 5433)],
    "[::1]": [("::1", None)],
    "[::1]:5433": [("::1", 5433)],
    "[fe80::1%25eth0]:1": [("fe80::1%eth0", 1)],
    "": [],
    ":5433": [("", 5433)],
    "h1:5432,h2:5433": [("h1", 5432), ("h2", 5433)],
    "h1,h2": [("h1", None), ("h2", None)],
    "[::1]:1,[::2],h3:3": [("::1", 1), ("::2", None), ("h3", 3)],
    "%2Frun%2Fpg": [("/run/pg", None)],
    "bücher.example": [("bücher.example", None)],
    "db.internal.": [("db.internal.", None)],
}
OPTIONAL_HOSTS = {
    "host=h": [("h", None)],
    "host=h:5433": [("h", 5433)],
    "host=h1:1&host=h2:2": [("h1", 1), ("h2", 2)],
    "host=h1,h2&port=1,2": [("h1", 1), ("h2", 2)],
    "host=h1,h2&port=5433": [("h1", 5433), ("h2", 5433)],
    "host=::1,::2&port=1,2": [("::1", 1), ("::2", 2)],
    "host=[::1]:1&host=[::2]:2": [("::1", 1), ("::2", 2)],
    "host=/run/pg": [("/run/pg", None)],
    "host=/run/pg&port=5433": [("/run/pg", 5433)],
    "port=5433": [("", 5433)],
}


@pytest.mark.parametrize("hosts", HOSTS)
def test_hosts_stand_before_the_slash(hosts: str) -> None:
    assert hosts_of(resolve_url(f"postgresql://u:p@{hosts}/d")) == HOSTS[hosts]


@pytest.mark.parametrize("options", OPTIONAL_HOSTS)
def test_hosts_stand_among_the_options(options: str) -> None:
    assert hosts_of(resolve_url(f"postgresql://u:p@/d?{options}")) == OPTIONAL_HOSTS[options]


@pytest.mark.parametrize("hosts", HOSTS)
def test_what_is_shown_means_the_same(hosts: str) -> None:
    url = resolve_url(f"postgresql://u@{hosts}/d?sslmode=prefer")

    again = resolve_url(display_url(url))

    assert (hosts_of(again), again.username, again.database) == (HOSTS[hosts], "u", "d")
    assert again.query["sslmode"] == "prefer"


@pytest.mark.parametrize("driver", SERVERS)
def test_several_hosts_reach_the_driver(driver: str) -> None:
    url = resolve_url(f"postgresql+{driver}://h1:5433,h2/d")

    found = connect_arguments(url, {"application_name": "x"})

    expected = {"asyncpg": (["h1", "h2"], [5433, 5432]), "psycopg": ("h1,h2", "5433,")}
    assert (found["host"], found["port"]) == expected[driver]


PARTS = {
    "postgresql://h?user=u&password=p&dbname=d": ("u", "p", "d"),
    "postgresql://h?user=u&password=p&database=d": ("u", "p", "d"),
    "postgresql://u:p%40%2F%3A%25@h/d": ("u", "p@/:%", "d"),
    "postgresql://u:p/q@h/d": ("u", "p/q", "d"),
    "postgresql://u:p%0A@h/d": ("u", "p\n", "d"),
    "postgresql://u:@h/d": ("u", "", "d"),
    "postgresql://h/": (None, None, None),
    "postgresql://h": (None, None, None),
    "postgresql://h/a%2Fb%40c": (None, None, "a/b@c"),
    "postgres://%C3%BC:%F0%9F%94%91@h/d": ("ü", "🔑", "d"),
}


@pytest.mark.parametrize("text", PARTS)
def test_user_password_and_database_are_read(text: str) -> None:
    url = resolve_url(text)

    assert (url.username, url.password, url.database) == PARTS[text]


S = SECRET
UNREADABLE = [
    *(f"postgresql://u:{S}@h:{port}/d" for port in ("99999", "0", "-1", "abc", "", "1_0", "\u0661", "5432x", " 1", S)),
    *(
        f"postgresql://u:{S}@{host}/d"
        for host in ("[::1", "::1]", "a b", "a..b", "x" * 64, "-a", "a,", ",a", "a/b", "[h]")
    ),
    *(
        f"postgresql://u:{S}@h/d{end}"
        for end in ("\n", "\t", " ", "\0", "#x", "/x", "%", "%zz", "%00", "%ff", "\u2028", "\udcff", "x" * 64)
    ),
    *(f"postgresql://u:{S}{bad}@h/d" for bad in ("%", "%zz", "%00", "%ff", "\n", "\0", "@x", "?x", "\udcff")),
    *(f"postgresql://u{bad}:{S}@h/d" for bad in ("%", "%0a", "%00", "/x", "\t", "#x", "x" * 64)),
    f"postgresql:/u:{S}@h/d",
    f"postgresql:u:{S}@h/d",
    f"postgresql:///u:{S}@h/d",
    f"postgresql:////u:{S}@h/d",
    f"postgresql//u:{S}@h/d",
    f"//u:{S}@h/d",
    f"u:{S}@h/d",
    f"u:{S}@h:1/d",
    f" postgresql://u:{S}@h/d",
    f"postgresql://h:5432/d?password={S}@x",
    f"postgresql://u:{S}",
    f"postgresql://u:{S}@h/d?host=x",
    f"postgresql://u:{S}@h1,h2/d?host=x",
    f"postgresql://u:{S}@h:1/d?port=2",
    f"postgresql://u:{S}@/d?host=h1:1,h2&port=2",
    f"postgresql://u:{S}@/d?host=h1,h2&port=1,2,3",
    f"postgresql://u:{S}@/d?host=/run:1",
    f"postgresql://u:{S}@/d?host=",
    f"postgresql://u:{S}@h/d?password={S}",
    f"postgresql://u@h/d?password={S}&password={S}",
    f"postgresql://u@h/d?pwd={S}",
    f"postgresql://u@h/d?{S}",
    f"postgresql://u@h/d?{S}={S}",
    f"postgresql://u@h/d?dsn=postgresql://u:{S}%40h",
    f"postgresql://u@h/d?sslmode={S}",
    f"postgresql://u@h/d?options={S}",
    "postgresql://u@h/d?sslmode=",
    f"postgresql+{S}://u@h/d",
    f"{S}://u@h/d",
    f"host=h password={S}",
    f"jdbc:postgresql://h/d?password={S}",
    f"sqlite://u:{S}@h/d",
    f"sqlite://{S}/d",
    f"sqlite:///ops.db?password={S}",
    "sqlite:///ops.db?mode=ro",
    f"sqlite:///file:ops.db?{S}=1",
    f"sqlite:///file:ops.db?mode={S}",
    "sqlite:///file:ops.db?uri=false",
    "sqlite:///file:ops.db?cache=shared",
    "sqlite:///file:ops.db%3Fmode=ro",
    "sqlite:///ops.db\n",
    "sqlite:///ops.db ",
    "sqlite:///a\0b",
    f"sqlite:///{'x' * 256}",
    "",
]


@pytest.mark.parametrize("text", UNREADABLE)
def test_what_could_be_read_in_two_ways_or_in_none_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(DatabaseUrlError) as caught:
        ActionDB(text) if text else file_or_url(f"postgresql:{text}")

    said, error = "", caught.value
    while error is not None:
        said += f"{error} {error!r}"
        error = error.__cause__ or error.__context__
    assert SECRET not in said


@pytest.mark.parametrize(
    "url",
    [
        URL.create("postgresql", host="h", port=99999),
        URL.create("postgresql", host="h", port=0),
        URL.create("postgresql", host="a b"),
        URL.create("postgresql", host="h", database="d\0"),
        URL.create("postgresql", host="h", username="u\n"),
        URL.create("postgresql", host="h", password="p\0"),  # noqa: S106 - a NUL is the point
        URL.create("postgresql", host="h", database="d" * 64),
        URL.create("sqlite", database="ops.db", query={"mode": "ro"}),
        URL.create("sqlite", database="file:ops.db?mode=ro", query={"uri": "true"}),
        Path("a\0b"),
        Path("x" * 256),
    ],
)
def test_other_targets_are_read_as_strictly(url: URL | Path) -> None:
    with pytest.raises(DatabaseUrlError):
        ActionDB(url)


def test_a_path_with_file_in_front_is_an_sqlite_uri() -> None:
    url = resolve_url("sqlite:///file:ops.db?mode=ro")

    assert (sqlite_path(url), dict(url.query)) == (Path("ops.db").absolute(), {"mode": "ro", "uri": "true"})


# -- what is shown -----------------------------------------------------------------------------------------------------

SHOWN = {
    "postgresql://h/d": "postgresql://h/d",
    f"postgresql+psycopg://u:{S}@h:1/d": "postgresql://u:***@h:1/d",
    f"postgresql://u%3A{S}@h/d": "postgresql://***@h/d",
    f"postgresql://h/a%40{S}": "postgresql://h/***",
    f"postgresql://u@h/d?password={S}": "postgresql://u:***@h/d",
    f"postgresql://h/d?sslmode=prefer&sslpassword={S}": "postgresql://h/d?sslmode=prefer&sslpassword=***",
    f"postgresql://h/d?application_name={S}": "postgresql://h/d?application_name=***",
    f"postgresql://h/d?options=-c%20a.b={S}": "postgresql://h/d?options=***",
    "postgresql://h1:1,h2/d": "postgresql://h1:1,h2/d",
    "postgresql:///d?host=/run/pg&port=1": "postgresql://%2Frun%2Fpg:1/d",
    "sqlite:///file:ops.db?mode=ro": "ops.db",
    "sqlite://": "sqlite://",
}


@pytest.mark.parametrize("text", SHOWN)
def test_only_what_cannot_be_a_secret_is_shown(text: str) -> None:
    assert display_url(resolve_url(text)) == SHOWN[text]


def test_the_url_of_a_hosts_engine_shows_no_secret() -> None:
    url = URL.create("postgresql+asyncpg", "u", S, "h", 1, "d", query={"pwd": S, "sslmode": S, "host": f"{S} x"})

    assert S not in display_url(url)


# -- files on a command line -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["ops.db", "a b.db", "/srv/ops.db", "./u:p@h", "../x=y.db", "C:\\ops.db", "ä.db", "100%"]
)
def test_a_file_is_named_by_its_path(name: str) -> None:
    assert sqlite_path(file_or_url(name)) == Path(name).absolute()


@pytest.mark.parametrize(
    "text",
    [
        *(text for text in UNREADABLE if "://" not in text and text),
        f"/u:{S}@h/d",
        f"u%3A{S}%40h",
        f"ops.db?password={S}",
        f"password={S}",
        f"POSTGRES:{S}",
        "ops.db\n",
    ],
)
def test_a_text_that_may_be_a_mistyped_url_is_no_path(text: str) -> None:
    with pytest.raises(DatabaseUrlError) as caught:
        file_or_url(text)

    assert SECRET not in str(caught.value)


def test_the_options_of_the_place_are_not_in_the_table() -> None:
    assert not set(HOST_OPTIONS) & {name for table in OPTIONS.values() for name in table}


@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+aiosqlite"])
@pytest.mark.parametrize("path", ["u:{0}@h:1/d", "/u:{0}@h/d", "u:{0}%40h/d", "file:u:{0}@h/d", "./u:{0}@h/d"])
def test_a_path_with_a_user_and_a_password_in_it_is_refused_and_not_repeated(scheme: str, path: str) -> None:
    text = f"{scheme}:///{path.format(SECRET)}"

    for read in (resolve_url, file_or_url):
        with pytest.raises(DatabaseUrlError, match="has a user and a password in it") as caught:
            read(text)
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", ["a@b.db", "a:b.db", "a@b:c.db", "C:/a@b.db"])
def test_a_path_that_only_looks_like_it_is_read(name: str) -> None:
    assert sqlite_path(resolve_url(f"sqlite:///{name}")) is not None
