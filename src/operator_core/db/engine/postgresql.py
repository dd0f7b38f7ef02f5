"""The settings of PostgreSQL, and how a connection that was idle is asked whether it lives."""

import inspect
import time
from importlib import import_module
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from operator_core.actions.errors import DatabaseUrlError
from operator_core.db.engine.urls import shown

IDLE_SECONDS = 10.0
IDLE_SINCE = "operator_core_idle_since"
"""What a pooled connection remembers: when it was used last, by the monotonic clock."""

_SILENCE_SECONDS = 330.0  # for one statement: longer than the server's own timeout, for a server that does not answer


def _settings(lock_timeout: float) -> dict[str, str]:
    return {
        "application_name": "operator_core",
        "timezone": "UTC",
        "default_transaction_isolation": "read committed",
        "lock_timeout": f"{round(lock_timeout * 1000)}",
        "statement_timeout": "300000",
        "idle_in_transaction_session_timeout": "60000",
    }


def _require_known_options(url: URL) -> None:
    """Name an option that asyncpg does not have, which would be a bare TypeError when it connects."""
    driver: Any = import_module("asyncpg")
    known = {*inspect.signature(driver.connect).parameters, *_OPTIONS_OF_SQLALCHEMY}
    unknown = sorted(set(url.query) - known)
    if unknown:
        raise DatabaseUrlError(f"asyncpg has no option {', '.join(unknown)}: take it out of the URL {shown(url)}")


_OPTIONS_OF_SQLALCHEMY = ("async_fallback", "prepared_statement_cache_size", "prepared_statement_name_func")


def new_engine(url: URL, lock_timeout: float, options: dict[str, Any]) -> AsyncEngine:
    """Return an engine for a URL; nothing is opened yet."""
    settings = _settings(lock_timeout)
    arguments: dict[str, Any]
    if url.get_driver_name() == "asyncpg":
        _require_known_options(url)
        arguments = {"server_settings": settings, "timeout": 10, "command_timeout": _SILENCE_SECONDS}
    else:
        given = url.query.get("options", "")
        escaped = {name: value.replace(" ", "\\ ") for name, value in settings.items()}
        ours = " ".join(f"-c {name}={value}" for name, value in escaped.items())
        arguments = {"options": f"{ours} {given}", "connect_timeout": 10, "client_encoding": "utf8"}
    engine = create_async_engine(url, connect_args=arguments, **options)
    _ping_after_idle(engine.sync_engine)
    return engine


def _ping_after_idle(engine: Engine) -> None:
    """Ask a connection that was idle whether it lives; asking each time would cost up to half a millisecond a call."""

    @event.listens_for(engine, "checkin")
    def remember(_connection: object, record: Any) -> None:
        record.info.setdefault(IDLE_SINCE, time.monotonic())

    @event.listens_for(engine, "checkout")
    def ping(connection: Any, record: Any, _proxy: object) -> None:
        idle_since = record.info.pop(IDLE_SINCE, None)
        if idle_since is None or connection is None:
            return
        closed = getattr(connection.driver_connection, "is_closed", None)
        if (closed is not None and closed()) or (
            time.monotonic() - idle_since > IDLE_SECONDS and not _answers(engine, connection)
        ):
            raise DisconnectionError


def _answers(engine: Engine, connection: Any) -> bool:
    try:
        return bool(engine.dialect.do_ping(connection))
    except engine.dialect.loaded_dbapi.Error:
        return False
