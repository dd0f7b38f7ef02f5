"""Where an `ActionDB` was opened: its connections belong to that process and that event loop."""

import asyncio
import os
import threading

from operator_core.actions.errors import OpenedElsewhereError


class Home:
    """The process and the event loop in which one is opened.

    Args:
        target: How it is shown.

    Attributes:
        lock: Held while it is opened.
        opening: How many tasks are at that.
    """

    def __init__(self, target: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._pid, self._thread, self._target = os.getpid(), threading.current_thread().name, target
        self.lock = asyncio.Lock()
        self.opening = 0

    def require(self) -> None:
        """See that this is the place.

        Raises:
            OpenedElsewhereError: This is another process, or another event loop.
        """
        try:
            if asyncio.get_running_loop() is self._loop:  # a forked child has none: that costs nothing more
                return
        except RuntimeError:
            pass  # a thread without a loop
        self.require_process()
        where = "that is closed" if self._loop.is_closed() else f"of the thread {self._thread}"
        here = threading.current_thread().name
        raise OpenedElsewhereError(self._target, f"in an event loop {where}, and this is another one, in {here}")

    def require_process(self) -> None:
        """See that this is the process.

        Raises:
            OpenedElsewhereError: It is another one.
        """
        if os.getpid() != self._pid:
            raise OpenedElsewhereError(self._target, f"in process {self._pid}, and this is process {os.getpid()}")

    @property
    def is_gone(self) -> bool:
        """Whether nobody can ever come back to it from here."""
        return os.getpid() != self._pid or self._loop.is_closed()
