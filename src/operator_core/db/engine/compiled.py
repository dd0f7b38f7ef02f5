"""Compiled statements that the engines of a process share: compiling one takes longer than running it."""

from typing import Any

from sqlalchemy.engine import Dialect, Engine

_dialects: dict[tuple[object, ...], Dialect] = {}
_statements: dict[Any, Any] = {}  # those of this library alone, so that there are no more than the code has


def share_compiled(engine: Engine) -> None:
    """Let an engine of ours use the statements that were compiled for others like it.

    A server's engine must have connected, so that its dialect knows the server's version.
    """
    dialect = engine.dialect  # it is part of the key of a compiled statement
    engine.dialect = _dialects.setdefault((type(dialect), dialect.server_version_info), dialect)
    engine.update_execution_options(compiled_cache=_statements)
