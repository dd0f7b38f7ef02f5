"""The command `operator-core`."""

import argparse
import sys
from collections.abc import Sequence

from operator_core.actions import ActionError
from operator_core.db import migrate


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        migrate.upgrade(options.url)
    except ActionError as error:
        print(f"operator-core: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="operator-core", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    db = commands.add_parser("db", help="look after the schema").add_subparsers(required=True, metavar="COMMAND")
    upgrade = db.add_parser("upgrade", help="bring a database to the revision of this version")
    upgrade.add_argument("--url", help="the database; else OPERATOR_CORE_DATABASE_URL, else the file ops.db")
    return parser
