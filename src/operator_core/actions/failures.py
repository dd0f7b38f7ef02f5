"""Errors as a ledger stores them: type and message, notes, cause, and the members of a group."""

from collections.abc import Iterator
from typing import Any

from operator_core.actions.validation import sanitise_text

_DEEPEST, _MOST = 10, 50  # nesting of causes and groups; number of errors in total
_LONGEST_NOTE = 4_000  # characters of a note, a cause or an inner error


def error_text(error: BaseException) -> str:
    """Return the stored text of an error: `ValueError: too hot (note: store 4) (caused by KeyError: 4)`.

    The errors of a group follow its message in brackets. A context that was not named with `from` is left to the log.
    """
    try:
        return sanitise_text("".join(_Description().parts(error, 1)))
    except BaseException as broken:  # noqa: BLE001 - recording a failure must never fail, whatever its error raises
        return f"{type(error).__name__} (it cannot be described: {type(broken).__name__})"


def is_only(error: BaseException, kind: type[BaseException]) -> bool:
    """Return whether an error is of this kind, or a group of nothing else."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(kind)[1] is None  # pyright: ignore[reportUnknownMemberType]
    return isinstance(error, kind)


class _Description:
    """A bounded description of an error with its causes and members: causes may form a ring, and groups be huge."""

    def __init__(self) -> None:
        self._left = _MOST

    def parts(self, error: BaseException, depth: int) -> Iterator[str]:
        self._left -= 1
        text = sanitise_text(error) if depth == 1 else sanitise_text(error, longest=_LONGEST_NOTE)
        yield f"{type(error).__name__}: {text}" if text else type(error).__name__
        if depth > _DEEPEST:
            return
        inner: Any = getattr(error, "exceptions", None) if isinstance(error, BaseExceptionGroup) else None  # pyright: ignore[reportUnknownArgumentType]
        if inner:
            yield from self._inner(inner, depth)
        notes: Any = vars(error).get("__notes__")
        for note in notes[:_DEEPEST] if isinstance(notes, list) else ():  # pyright: ignore[reportUnknownVariableType]
            yield f" (note: {sanitise_text(note, longest=_LONGEST_NOTE)})"  # pyright: ignore[reportUnknownArgumentType]
        if error.__cause__ is not None and self._left > 0:
            yield " (caused by "
            yield from self.parts(error.__cause__, depth + 1)
            yield ")"

    def _inner(self, errors: tuple[BaseException, ...], depth: int) -> Iterator[str]:
        yield " ["
        for number, error in enumerate(errors):
            yield "; " if number else ""
            if self._left <= 0:
                yield f"and {len(errors) - number} more"
                break
            yield from self.parts(error, depth + 1)
        yield "]"
