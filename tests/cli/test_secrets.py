"""Whatever is typed as a URL, wherever it is typed: no command and no error of the library repeats its password."""

import asyncio
import contextlib
import io
import logging
import os
import secrets
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import create_async_engine

from operator_core.actions import ActionError
from operator_core.cli.main import main
from operator_core.db import ActionDB, migrations, upgrade
from operator_core.db.engine.urls import URL_VARIABLE
from operator_core.testing import fresh_postgresql

SECRET = f"pw{secrets.token_hex(6)}"
"""What must not be seen: no test may hold it in a line of its source, which a traceback shows."""

NOBODY = ("127.0.0.1:1", "[::1]:1", "127.0.0.1:1,127.0.0.1:2", "")
"""Where nothing listens."""

SHAPES = (
    "{scheme}://u:{secret}@{host}/d",
    "{scheme}://:{secret}@{host}/d",
    "{scheme}://u:{secret}@{host}",
    "{scheme}://u:x{secret}y@{host}/d?sslmode=disable",
    "{scheme}://u:a@{secret}@{host}/d",
    "{scheme}://u:a/{secret}@{host}/d",
    "{scheme}://u:a?{secret}@{host}/d",
    "{scheme}://u:a#{secret}@{host}/d",
    "{scheme}://u:%{secret}@{host}/d",
    "{scheme}://u:a {secret}@{host}/d",
    "{scheme}://u%3A{secret}%40{host}/d",
    "{scheme}:/u:{secret}@{host}/d",
    "{scheme}:u:{secret}@{host}/d",
    "{scheme}:///u:{secret}@{host}/d",
    "{scheme}//u:{secret}@{host}/d",
    "{scheme} ://u:{secret}@{host}/d",
    " {scheme}://u:{secret}@{host}/d",
    "'{scheme}://u:{secret}@{host}/d'",
    "{scheme}=//u:{secret}@{host}/d",
    "//u:{secret}@{host}/d",
    "u:{secret}@{host}/d",
    "u:{secret}@{host}",
    "{scheme}://u:{secret}",
    "{scheme}://u@{host}/d?password={secret}",
    "{scheme}://u@{host}/d?pwd={secret}",
    "{scheme}://u@{host}/d?passwd={secret}&sslmode=disable",
    "{scheme}://u@{host}/d&password={secret}",
    "{scheme}://u@{host}/d;password={secret}",
    "{scheme}://u@{host}/d?sslpassword={secret}",
    "{scheme}://u@{host}/d?application_name={secret}",
    "{scheme}://u@{host}/d?options=-c%20my.token={secret}",
    "{scheme}://u@{host}/d?options={secret}",
    "{scheme}://u@{host}/d?sslmode={secret}",
    "{scheme}://u@{host}/d?connect_timeout={secret}",
    "{scheme}://u@{host}/d?{secret}",
    "{scheme}://u@{host}/d?{secret}=1",
    "{scheme}://u@{host}/d?dsn={scheme}://u:{secret}@{host}",
    "{scheme}://u@{host}/d?dsn={scheme}%3A%2F%2Fu%3A{secret}%40{host}",
    "{scheme}://u@{host}/d?hostaddr={secret}",
    "{scheme}://u@{host}/d?require_auth={secret}",
    "{scheme}://u@{host}/d?min_protocol_version={secret}",
    "{scheme}://u@{host}/d?port={secret}",
    "{scheme}://{host}:{secret}/d",
    "host=127.0.0.1 port=1 user=u password={secret}",
    "password={secret}",
    "jdbc:postgresql://127.0.0.1:1/d?user=u&password={secret}",
    "ops.db?password={secret}",
)
SCHEMES = ("postgresql", "postgres", "postgresql+psycopg", "postgresql+asyncpg", "PostgreSQL", "mysql", "sqlite", "")
COMMANDS = (
    ["status", "--url", "{}"],
    ["status", "--url={}", "--json"],
    ["--url", "{}", "status"],
    ["--url={}", "stop"],
    ["status", "{}"],
    ["{}"],
    ["list", "--ulr={}"],
    ["list", "--limit", "{}"],
    ["show", "{}"],
    ["stop", "--reason", "r", "--timeout", "0.01", "--url", "{}"],
    ["stop", "--reason", "r", "--timeout", "0.01", "--json", "--url", "{}"],
    ["stop", "--reason", "r", "--scope", "{}"],
    ["release", "--reason", "r", "--generation", "{}"],
    ["db", "upgrade", "--url", "{}"],
    ["db", "upgrade", "{}"],
    ["db", "upgrade", "--sql", "--url", "{}"],
    ["db", "check", "--json", "--url", "{}"],
    ["db", "current", "--url", "{}"],
    ["db", "downgrade", "{}"],
    ["verify", "--url", "{}"],
    ["worker", "{}"],
    ["import-legacy", "{}", "--timezone", "UTC"],
    ["pending", "--url", "{}"],
    ["pending", "{}"],
    ["approve", "{}"],
    ["approve", "1", "--url={}", "--json"],
    ["approve", "1", "--registry", "{}"],
    ["approve", "1", "--kind", "{}"],
    ["reject", "1", "--reason", "r", "--url", "{}"],
    ["revoke", "{}", "--reason", "r"],
    ["supersede", "1", "--reason", "r", "--parameters", "{}"],
    ["policy", "{}"],
    ["policy", "list", "--url", "{}"],
    ["policy", "set", "{}", "--approvals", "1", "--reason", "r"],
    ["policy", "set", "everything", "--approvals", "{}", "--reason", "r"],
    ["policy", "set", "everything", "--approvals", "1", "--expires", "{}", "--reason", "r"],
    ["export", "--output", "{}"],
)
NOISE = "@:/?#%=&;, \n\t\0\"'\\[]ü\udcff"


@st.composite
def typed_texts(draw: st.DrawFn) -> str:
    """Draw a text with a password in it, as a person or a program may write it, with a slip here and there."""
    shape = draw(st.sampled_from(SHAPES))
    text = shape.format(scheme=draw(st.sampled_from(SCHEMES)), host=draw(st.sampled_from(NOBODY)), secret="\1")  # noqa: S106 - put in below
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(text)))
        text = text[:place] + draw(st.sampled_from(NOISE)) + text[place:]
    assume(not text.lstrip().startswith("sqlite:///"))  # what follows is the path of a file
    return text.replace("\1", SECRET)


@contextlib.contextmanager
def everything_said() -> Iterator[io.StringIO]:
    """Collect what is printed, logged and warned of within the block."""
    heard = io.StringIO()
    handler, root = logging.StreamHandler(heard), logging.getLogger()
    level = root.level
    loggers = [logging.getLogger(name) for name in ("sqlalchemy", "sqlalchemy.pool", "asyncpg", "psycopg", "alembic")]
    levels = [logger.level for logger in loggers]
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    try:
        with (
            contextlib.redirect_stdout(heard),
            contextlib.redirect_stderr(heard),
            warnings.catch_warnings(record=True) as found,
        ):
            warnings.simplefilter("always")
            yield heard
        heard.writelines(str(warning.message) for warning in found)
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        for logger, before in zip(loggers, levels, strict=True):
            logger.setLevel(before)


def chain_of(error: BaseException, *, attributes: bool = True) -> str:
    """Return all that can be read of an error and of those behind it, hidden ones too, and what they keep."""
    said, waiting, seen = list[str](), [error], set[int]()
    while waiting:
        found = waiting.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        said += [str(found), repr(found), repr(found.args), *traceback.format_exception(found)]
        said += [repr(value) for name, value in vars(found).items() if attributes or not name.startswith("_")]
        waiting += [other for other in (found.__cause__, found.__context__) if other is not None]
        waiting += getattr(found, "exceptions", ())
    return "\n".join(said)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, with an environment that names no database."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("PG") or name == URL_VARIABLE:
            monkeypatch.delenv(name)


PROPERTY = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@PROPERTY
@given(text=typed_texts(), command=st.sampled_from(COMMANDS))
def test_no_command_repeats_a_password(text: str, command: list[str]) -> None:
    with everything_said() as heard, contextlib.suppress(SystemExit):
        assert main([word.format(text) if "{}" in word else word for word in command]) != 0 or "--sql" in command

    assert SECRET not in heard.getvalue()
    assert "Traceback" not in heard.getvalue()


def test_a_mistyped_scope_is_repeated() -> None:
    with everything_said() as heard, contextlib.suppress(SystemExit):
        main(["policy", "set", "acton_name=drain_store", "--approvals", "1", "--reason", "r"])

    assert "acton_name=drain_store" in heard.getvalue()


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[11], SHAPES[20], *SHAPES[-4:], f"ü{SHAPES[0]}"])
def test_no_command_repeats_a_password_of_a_usual_form(command: list[str], shape: str) -> None:
    text = shape.format(scheme="postgresql", host=NOBODY[0], secret=SECRET)

    with everything_said() as heard, contextlib.suppress(SystemExit):
        main([word.format(text) for word in command])

    assert SECRET not in heard.getvalue()


@PROPERTY
@given(text=typed_texts())
def test_no_command_repeats_a_password_of_the_environment(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch, everything_said() as heard:
        patch.setenv(URL_VARIABLE, text.replace("\0", ""))
        main(["status"])

    assert SECRET not in heard.getvalue()
    assert "Traceback" not in heard.getvalue()


async def _open(text: str) -> None:
    db = ActionDB(text)
    assert SECRET not in repr(db)
    async with db:
        raise AssertionError("nothing listens there")


USES = {
    "open": lambda text: asyncio.run(_open(text)),
    "upgrade": upgrade,
    "report": migrations.schema_status,
    "downgrade": lambda text: migrations.downgrade(text, "base"),
    "fresh_postgresql": lambda text: fresh_postgresql(text).__enter__(),
}


@PROPERTY
@given(text=typed_texts(), use=st.sampled_from(sorted(USES)))
def test_no_error_of_the_library_holds_a_password_and_none_is_raw(text: str, use: str) -> None:
    with everything_said() as heard, pytest.raises(ActionError) as caught:
        USES[use](text)

    assert SECRET not in heard.getvalue() + chain_of(caught.value)


QUERIES = (
    {"pwd": SECRET},
    {"password": SECRET},
    {"sslmode": SECRET},
    {SECRET: "1"},
    {"options": SECRET},
    {"host": f"{SECRET} x"},
)


@pytest.mark.parametrize("query", QUERIES, ids=range(len(QUERIES)))
@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_no_error_about_a_url_object_holds_a_password(driver: str, query: dict[str, str]) -> None:
    url = URL.create(f"postgresql+{driver}", "u", SECRET, port=1, database="d", query=query)

    with pytest.raises(ActionError) as caught:
        ActionDB(url) if "password" not in query else asyncio.run(_open(str(url)))

    assert SECRET not in chain_of(caught.value)


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_nothing_said_of_a_hosts_engine_holds_a_password(driver: str) -> None:
    engine = create_async_engine(
        URL.create(f"postgresql+{driver}", "u", SECRET, "127.0.0.1", 1, "d", query={"passfile": SECRET})
    )
    db = ActionDB(engine)

    with everything_said() as heard, pytest.raises(ActionError) as caught:
        await db.open()
    await engine.dispose()

    assert SECRET not in heard.getvalue() + chain_of(caught.value, attributes=False) + repr(db)
