"""A process of its own that gives a ledger a second view and stops it there, as often as it is asked to.

Reads lines `PATH WAY`, and writes for each the time at which the stop was engaged (a clock of the whole machine).
"""

import asyncio
import sys
import time
from pathlib import Path

from operator_core.actions import Scope
from operator_core.actions.errors import StopUnconfirmedError
from operator_core.db.engine.factory import create_engine
from operator_core.db.engine.urls import resolve_url
from operator_core.db.stop.command import StopCommand
from operator_core.db.stop.engage import engage
from tests.support.second_views import WAYS


async def stop(file: Path) -> None:
    url = resolve_url(file)
    engine = create_engine(url, needs_session_state=False)
    try:
        await engage(engine, url, StopCommand(Scope(), "eve", "smoke", 0.0, terminate_blockers=False))
    except StopUnconfirmedError:
        pass  # it names the process that has the file open
    finally:
        await engine.dispose()


for line in sys.stdin:
    path, way = line.split()
    asyncio.run(stop(WAYS[way](Path(path))))
    print(time.monotonic(), flush=True)
