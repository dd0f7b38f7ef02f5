"""`worker MODULE:registry`: run the actions of a registry until SIGTERM."""

import argparse
import importlib
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from operator_core.actions import InvalidArgumentError
from operator_core.cli import output
from operator_core.cli.database import open_existing
from operator_core.cli.options import Commands, Parser, count, seconds
from operator_core.logs import PRINTABLE

if TYPE_CHECKING:
    from operator_core.worker import ActionRegistry


async def work(options: argparse.Namespace) -> int:
    """Run a worker until it is stopped; exit with 0 if nothing was aborted or lost."""
    from operator_core.worker import Worker  # noqa: PLC0415 - a stop must not wait for it

    _log_to_stderr()
    registry = load_registry(options.registry)
    async with open_existing(options.url) as db:
        worker = Worker(
            db,
            registry,
            concurrency=options.concurrency,
            name=options.name,
            lease_seconds=options.lease,
            shutdown_timeout=options.shutdown_timeout,
            validate=not options.no_validate,
        )
        report = await worker.run()
    if options.json:
        output.print_json(asdict(report))
    else:
        output.print_text(f"ended: {report}")
    return 1 if report.aborted or report.lost or report.still_running else 0


def _log_to_stderr() -> None:
    """Log all loggers of this process, each entry printable: other libraries repeat text from outside too."""
    handler = logging.StreamHandler()
    handler.addFilter(PRINTABLE)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", handlers=[handler]
    )


def load_registry(text: str) -> "ActionRegistry":
    """Import the registry that `MODULE:registry` names.

    Raises:
        InvalidArgumentError: It cannot be imported, or is something else.
    """
    from operator_core.worker import ActionRegistry  # noqa: PLC0415 - as above

    module, _, name = text.partition(":")
    if any(sign in text for sign in "@/="):
        raise InvalidArgumentError(
            path="MODULE:registry", reason="is not the name of a module; the database is named with --url"
        )
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` finds a module in the current folder
    try:
        found = getattr(importlib.import_module(module), name or "registry")
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise InvalidArgumentError(path=text, reason=f"cannot be imported: {error}") from error
    if not isinstance(found, ActionRegistry):
        raise InvalidArgumentError(path=text, reason=f"is a {type(found).__name__}; an ActionRegistry is wanted")
    return found


def add_commands(commands: "Commands[Parser]", common: Parser, actor: Parser) -> None:
    """Add `worker`."""
    parser = commands.add_parser(
        "worker", parents=[common], help="check proposals, and run what is approved, until SIGTERM"
    )
    parser.add_argument("registry", metavar="MODULE:registry", help="where the ActionRegistry is")
    parser.add_argument("--concurrency", type=count, default=1, help="how many actions at once (default: 1)")
    parser.add_argument("--lease", type=seconds, default=60.0, help="seconds without a heartbeat (default: 60)")
    parser.add_argument("--shutdown-timeout", type=seconds, default=30.0, help="seconds after SIGTERM (default: 30)")
    parser.add_argument("--name", help="unique among all workers (default: made up)")
    parser.add_argument(
        "--no-validate", action="store_true", help="check and approve nothing: run only what is validated"
    )
    parser.set_defaults(run=work)
