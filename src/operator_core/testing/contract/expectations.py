"""What a test of the contract says when a promise is broken; plain errors, so that no test runner is needed."""

from collections.abc import Generator
from contextlib import contextmanager


def expect(found: object, wanted: object, promise: str) -> None:
    """See that a promise is kept; not with `assert`, which `python -O` leaves out."""
    if found != wanted:
        raise AssertionError(f"{promise}: {wanted!r} is expected, not {found!r}")


@contextmanager
def refused(kind: type[Exception], promise: str) -> Generator[None]:
    """See that what is tried in the block is refused with an error of a kind; any other error comes out as it is."""
    try:
        yield
    except kind:
        return
    raise AssertionError(f"{promise}: {kind.__name__} is expected, and nothing was raised")
