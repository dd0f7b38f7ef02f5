"""The page about errors, written from their classes: `python -m tests.support.errors_page` writes it anew."""

import inspect
from collections.abc import Iterator
from pathlib import Path

from operator_core.actions import ActionError, DatabaseError, DatabaseUnavailableError, SchemaError
from operator_core.legacy import ImportRefusedError, LegacyFileError
from operator_core.testing import ValidUntilFixedError
from operator_core.worker import (
    AlreadyRegisteredError,
    HandlerNotAllowedError,
    NotRegisteredError,
    ParametersNotValidError,
    TaskExitedError,
)

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
HEAD = """# Errors

Every error of the library is an `ActionError`. It carries its data as attributes and builds its own message, which is
one printable line and holds no password. An error of the driver is its `__cause__`. All survive pickling.

Catch the class that says what you can do something about. A driver's own errors never come through, in either way in.

- **A wrong call** raises `InvalidArgumentError` or `ValueNotStorableError`. Both are `ValueError`s and have a `path`.
  Building a DTO raises `pydantic.ValidationError` instead, with the same text and path, so a body of FastAPI gets its
  422.
- **A refusal** is one of the errors under [What a ledger refuses](#what-a-ledger-refuses). Nothing was changed.
- **A database that cannot be worked with** raises a `DatabaseError`. `RetryTransactionError` says that running the
  transaction again is safe. After a `ConnectionLostError` read the row first: the call may have been committed.

The status is for a web service that answers a call which raised: `error.http_status`. `error.advice` is the third
column. This page is written from the classes: `python -m tests.support.errors_page`.
"""
GROUPS = {
    "What a ledger refuses": ActionError,
    "What is wrong with a database": DatabaseError,
    "What is wrong with its schema": SchemaError,
    "Why it cannot be worked with now": DatabaseUnavailableError,
}
ELSEWHERE = {
    "operator_core.worker": (
        AlreadyRegisteredError,
        HandlerNotAllowedError,
        NotRegisteredError,
        ParametersNotValidError,
        TaskExitedError,
    ),
    "operator_core.legacy": (ImportRefusedError, LegacyFileError),
    "operator_core.testing": (ValidUntilFixedError,),
}


def below(root: type[ActionError]) -> Iterator[type[ActionError]]:
    """Yield the public errors below one that belong to no other group, each after its base."""
    for error in root.__subclasses__():
        public = not error.__name__.startswith("_") and error.__module__.startswith("operator_core.actions.errors")
        if not public:
            continue
        yield error
        if error not in GROUPS.values():
            yield from below(error)


def _row(error: type[ActionError]) -> str:
    cause = inspect.getdoc(error).splitlines()[0]
    return f"| `{error.__name__}` | {cause} | {error.advice[0].upper()}{error.advice[1:]}. | {error.http_status} |"


def page() -> str:
    """Return the whole page."""
    parts = [HEAD]
    for title, root in GROUPS.items():
        rows = [error for error in below(root) if error not in GROUPS.values()]
        if root is DatabaseUnavailableError:
            rows.insert(0, root)
        parts.append(f"## {title}\n\n| Error | Raised when | What to do | HTTP |\n| --- | --- | --- | --- |")
        parts[-1] += "".join(f"\n{_row(error)}" for error in rows) + "\n"
    parts.append("## In other packages\n\n| Error | Package | Raised when |\n| --- | --- | --- |")
    parts[-1] += "".join(
        f"\n| `{error.__name__}` | `{package}` | {inspect.getdoc(error).splitlines()[0]} |"
        for package, errors in ELSEWHERE.items()
        for error in errors
    )
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
