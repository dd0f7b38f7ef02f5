"""The sweep without what makes a call settle, in a process of its own: the event loop does not survive it either."""

import asyncio
import gc
import json
import logging
import os
import sys
import warnings
from collections.abc import Awaitable
from itertools import product
from pathlib import Path

from operator_core.actions import ActionError
from operator_core.db import ActionDB
from operator_core.db.repository import action_db
from operator_core.db.transactions import block, owned
from tests.support import race_steps
from tests.support.ledger import Ledger
from tests.support.race_sweep import Circumstance, sweep


async def _unsettled(work: Awaitable[object], _limit: object = None) -> object:
    return await work


async def find_damage(ledger: Ledger) -> dict[str, object]:
    """Return the first damage, and after how many cancellations it was found."""
    owned.shielded = action_db.shielded = block.shielded = _unsettled  # type: ignore[assignment]
    owned.in_time = block.in_time = _unsettled  # type: ignore[assignment]
    race_steps.server_patience = 1.0  # there is damage, and it stays
    tried = 0
    # One cancellation is survived without it, by what SQLAlchemy clears up; a second one interrupts that.
    for name, how in product(("engage_kill_switch", "transaction", "start_execution"), ("twice", "again and again")):
        db = await ActionDB(ledger.target, lock_timeout=1.0).open()
        try:
            async with asyncio.timeout(20):
                moments, damage = await sweep(ledger, db, name, how, Circumstance.COLD)
        except ActionError as error:  # nobody else is there who could hold a lock, or take a step
            moments, damage = 1, [f"a later call meets what was given up: {error}"]
        except TimeoutError:
            moments, damage = 1, ["a later call waits for ever"]
        tried += moments
        if damage:
            return {"tried": tried, "damage": damage}
    return {"tried": tried, "damage": []}


def main() -> None:
    """Serve `race_unsettled.py TARGET`: print what was found as JSON, and end without clearing up."""
    gc.disable()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    target = sys.argv[1]
    found = asyncio.new_event_loop().run_until_complete(
        find_damage(Ledger(target if "://" in target else Path(target)))
    )
    print(json.dumps(found), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
