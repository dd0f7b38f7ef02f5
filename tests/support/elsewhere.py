"""Every public call of an `ActionDB`, and of what it gives out, made where it was not opened.

Run as a program it opens a ledger, goes elsewhere, and prints as JSON what each call said there, and how the ledger was
afterwards where it was opened: `elsewhere.py TARGET PLACE END`.
"""

import asyncio
import gc
import json
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

from operator_core.actions import ActionStatus
from operator_core.db import ActionDB, Execution
from tests.support.factories import proposal, stored
from tests.support.race_sweep import CALLS

Said = dict[str, str]
PATIENCE = 20.0
END_OF_BLOCK, REST = "the end of a transaction", "the rest of an iterator"
CLOSE, OWN_LEDGER, AT_HOME, CHILD = "close", "a ledger of its own", "at home", "the child"


class Given:
    """What an open ledger has given out, and what its calls need."""

    def __init__(self, db: ActionDB, *, is_file: bool) -> None:
        self.db, self.is_file = db, is_file
        self.stack = AsyncExitStack()
        self.arguments: dict[str, Any] = {}

    async def arrange(self) -> None:
        """Prepare every call, open a transaction, claim, and begin to iterate, as far as one writer allows."""
        for name, (arrange, _) in CALLS.items():
            self.arguments[name] = await arrange(self.db)
        for stop in (await self.db.kill_switch_status()).engaged:
            await self.db.release_kill_switch(by="bob", reason="go on", generation=stop.generation)
        await stored(self.db, ActionStatus.VALIDATED, action_name="claimed")
        claimed = await self.db.claim_next(worker="w", action_names=["claimed"])
        assert claimed is not None
        self.execution: Execution = claimed
        await self.stack.enter_async_context(self.execution)
        self.iterator = self.db.iter_proposals(chunk_size=1)
        await anext(self.iterator)
        self.changes = self.db.watch_kill_switch(poll_interval=0.01)
        self.hint = await self.stack.enter_async_context(self.db.notifications())
        self.block = self.db.transaction()
        self.tx = await self.block.__aenter__()
        if not self.is_file:  # there, it would lock the file for whoever opens it elsewhere
            await self.tx.list_proposals(limit=1)

    def calls(self) -> dict[str, Callable[[], Awaitable[Any]]]:
        """Return every call by name."""
        db, execution, tx = self.db, self.execution, self.tx
        calls: dict[str, Callable[[], Awaitable[Any]]] = {
            name: (lambda act=act, name=name: act(db, self.arguments[name])) for name, (_, act) in CALLS.items()
        }
        return calls | {
            "open": db.open,
            "async with": db.__aenter__,
            REST: lambda: anext(self.iterator),
            "the rest of a watch": lambda: anext(self.changes),
            "a hint": lambda: self.hint(0.01),
            "tx.create_proposal": lambda: tx.create_proposal(proposal()),
            "tx.list_proposals": tx.list_proposals,
            END_OF_BLOCK: lambda: self.block.__aexit__(None, None, None),
            "execution.heartbeat": execution.heartbeat,
            "execution.hold": execution.ensure_lease,
            "execution.complete": execution.complete,
            "execution.fail": lambda: execution.fail("no"),
            "execution.abandon": lambda: execution.abandon("no"),
            "execution.acknowledge_stop": execution.acknowledge_stop,
            "execution.wait_for_stop": execution.wait_for_stop,
            "execution.__aexit__": lambda: execution.__aexit__(None, None, None),
        }


async def said_elsewhere(given: Given, target: Any, *left_out: str) -> Said:
    """Make every call, then close, then open a ledger of one's own; return what each has raised, or "nothing"."""
    said: Said = {}
    for name, call in given.calls().items():
        if name not in left_out:
            said[name] = await _said(call)
    said[CLOSE] = await _said(given.db.close)

    async def fresh() -> None:
        async with ActionDB(target) as own:
            made = await own.create_proposal(proposal(action_name="elsewhere"))
            assert await own.get_proposal(made.id) == made

    said[OWN_LEDGER] = await _said(fresh)
    return said


async def _said(call: Callable[[], Awaitable[Any]]) -> str:
    try:
        async with asyncio.timeout(PATIENCE):
            await call()
    except TimeoutError:
        return "hangs"
    except BaseException as error:  # noqa: BLE001 - whatever it is, the test wants to see it
        return f"{type(error).__name__}: {error}"
    return "nothing"


async def at_home(given: Given) -> Said:
    """Return whether the ledger still works where it was opened, on the connections that it has."""
    said: Said = {}

    async def goes_on() -> None:
        await given.tx.create_proposal(proposal(action_name="within"))
        await given.block.__aexit__(None, None, None)
        await given.db.create_proposal(proposal(action_name="at home"))
        await given.hint(0.01)
        await given.execution.heartbeat()
        await given.execution.complete()
        await given.stack.aclose()
        names = {one.action_name for one in await given.db.list_proposals()}
        assert {"within", "at home"} <= names, names
        await given.db.close()

    said[AT_HOME] = await _said(goes_on)
    return said


# -- the program -------------------------------------------------------------------------------------------------------


async def _forked(target: Any, end: str) -> Said:
    given = Given(await ActionDB(target).open(), is_file=isinstance(target, Path))
    await given.arrange()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        said = asyncio.run(said_elsewhere(given, target))
        if end == "collected":
            vars(given).clear()
            gc.collect()
        os.write(writing, json.dumps(said).encode())
        os._exit(0)  # to go on with the loop of the parent would disturb the parent, whatever runs in it
    os.close(writing)
    read = await asyncio.to_thread(_read_all, reading)
    said = json.loads(read)
    said[CHILD] = str(await asyncio.to_thread(lambda: os.waitpid(pid, 0)[1]))
    return said | await at_home(given)


def _read_all(number: int) -> bytes:
    with os.fdopen(number, "rb") as pipe:
        return pipe.read()


async def _in_a_thread(target: Any, _end: str) -> Said:
    given = Given(await ActionDB(target).open(), is_file=isinstance(target, Path))
    await given.arrange()
    said = await asyncio.to_thread(lambda: asyncio.run(said_elsewhere(given, target, END_OF_BLOCK)))
    return said | await at_home(given)


def _in_a_second_run(target: Any) -> Said:
    kept: list[Given] = []

    async def forget() -> None:
        given = Given(await ActionDB(target).open(), is_file=isinstance(target, Path))
        await given.arrange()
        with suppress(RuntimeError):
            await given.block.__aexit__(None, None, None)  # else SQLite's file stays locked
        kept.append(given)

    asyncio.run(forget())
    return asyncio.run(said_elsewhere(kept[0], target, END_OF_BLOCK, REST))  # the loop has ended both


def main() -> None:
    """Print what was said."""
    _, text, place, end = sys.argv
    target = text if "://" in text else Path(text)
    if place == "a second run":
        said = _in_a_second_run(target)
    else:
        said = asyncio.run({"a child": _forked, "a thread": _in_a_thread}[place](target, end))
    assert threading.current_thread() is threading.main_thread()
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
