"""SIGTERM and SIGINT for every worker of this process."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)

_receivers: dict[object, Callable[[], None]] = {}  # by their owner; only the main thread has any
_before: dict[int, Any] = {}  # the previous handlers
_process = [0]  # the process that has set ours


@contextmanager
def hearing_signals(owner: object, receive: Callable[[], None]) -> Generator[None]:
    """Call `receive` in the running loop at each SIGTERM and SIGINT inside the block.

    Python handles signals only in its main thread, so in other threads this does nothing. A signal that this process
    ignores stays ignored. A handler that the host has set is called as well; the interpreter's own and that of
    `asyncio.run` are not, because they would interrupt work that is to finish. After the block all handlers are
    restored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if _receivers and os.getpid() != _process[0]:
        _leave_to_parent()
    if owner in _receivers:
        yield
        return
    loop = asyncio.get_running_loop()
    _receivers[owner] = lambda: _wake(loop, receive)
    try:
        if len(_receivers) == 1:
            _install()
        yield
    finally:
        _receivers.pop(owner, None)
        if not _receivers:
            _restore()


def _wake(loop: asyncio.AbstractEventLoop, receive: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # it is closed
        loop.call_soon_threadsafe(receive)


def _install() -> None:
    _process[0] = os.getpid()
    for number in SIGNALS:
        before = signal.getsignal(number)
        if before is None or before is signal.SIG_IGN:  # None: it was not set from Python, and could not be restored
            continue
        with suppress(ValueError):  # a subinterpreter receives none
            signal.signal(number, _on_signal)
            _before[number] = before


def _restore() -> None:
    for number, before in _before.items():
        if signal.getsignal(number) is _on_signal:
            signal.signal(number, before)
    _before.clear()


def _on_signal(number: int, frame: FrameType | None) -> None:
    if os.getpid() != _process[0]:  # a worker must not end for a forked child
        _leave_to_parent()
        signal.raise_signal(number)
        return
    for receive in list(_receivers.values()):
        receive()
    before = _before.get(number)
    if callable(before) and before is not signal.default_int_handler and not _is_of_asyncio(before):
        before(number, frame)


def _is_of_asyncio(handler: object) -> bool:
    function = handler.func if isinstance(handler, partial) else handler  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    return getattr(function, "__module__", None) == "asyncio.runners"  # pyright: ignore[reportUnknownArgumentType]


def _leave_to_parent() -> None:
    _receivers.clear()
    _restore()
