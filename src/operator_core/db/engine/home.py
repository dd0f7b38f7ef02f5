"""Where an `ActionDB` was opened: its connections belong to that process and that event loop."""

import asyncio
import os
import threading

from operator_core.actions.errors import OpenedElsewhereError


class Home:
    """The process and the event loop in which an `ActionDB` is opened.

    Args:
        target: The text that errors show.

    Attributes:
        lock: Held while it is opened.
        opening: How many tasks are opening it.
    """

    def __init__(self, target: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._pid, self._thread, self._target = os.getpid(), threading.current_thread().name, target
        self.lock = asyncio.Lock()
        self.opening = 0

    def require(self) -> None:
        """Require this process and this event loop.

        Raises:
            OpenedElsewhereError: This is another process, or another event loop.
        """
        try:
            if asyncio.get_running_loop() is self._loop:  # a forked child has no running loop: no extra cost
                return
        except RuntimeError:
            pass  # a thread without a loop
        self.require_process()
        where = "that is closed" if self._loop.is_closed() else f"of the thread {self._thread}"
        here = threading.current_thread().name
        raise OpenedElsewhereError(self._target, f"in an event loop {where}, and this is another one, in {here}")

    def require_process(self) -> None:
        """Require this process.

        Raises:
            OpenedElsewhereError: This is another process.
        """
        if os.getpid() != self._pid:
            raise OpenedElsewhereError(self._target, f"in process {self._pid}, and this is process {os.getpid()}")

    @property
    def is_gone(self) -> bool:
        """Whether the home can never be used again from here."""
        return os.getpid() != self._pid or self._loop.is_closed()
