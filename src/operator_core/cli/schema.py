"""`db upgrade`: the only command that creates or changes a schema."""

import argparse
import asyncio

from operator_core.cli import screen
from operator_core.cli.target import database_url
from operator_core.db import migrate
from operator_core.db.engine.urls import shown


async def upgrade(options: argparse.Namespace) -> int:
    """Bring a database to the revision of this version."""
    url = database_url(options.url)
    await asyncio.to_thread(migrate.upgrade, url)
    if options.json:
        screen.emit({"revision": migrate.HEAD})
    else:
        screen.say(f"{shown(url)} is at revision {migrate.HEAD}")
    return 0
