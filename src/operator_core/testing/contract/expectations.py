"""The failures of the contract's tests; plain errors, so that no test runner is needed."""

from collections.abc import Generator
from contextlib import contextmanager


def expect(found: object, wanted: object, promise: str) -> None:
    """Check a guarantee; not with `assert`, which `python -O` leaves out."""
    if found != wanted:
        raise AssertionError(f"{promise}: {wanted!r} is expected, not {found!r}")


@contextmanager
def refused(kind: type[Exception], promise: str) -> Generator[None]:
    """Check that the block is refused with an error of a kind; any other error is raised unchanged."""
    try:
        yield
    except kind:
        return
    raise AssertionError(f"{promise}: {kind.__name__} is expected, and nothing was raised")
