"""The queues that claims.py compares, each made, filled and claimed from through its own calls.

The calls are public, but for those of DBOS, which has no public call that dequeues: there it is the one that its own
worker makes.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import ClassVar
from uuid import uuid4

import asyncpg
import psycopg
from dbos import DBOSClient, EnqueueOptions
from pgqueuer.queries import EntrypointExecutionParameter, Queries
from pgqueuer.types import QueueEntrypoint, QueueManagerId
from procrastinate import App, PsycopgConnector
from procrastinate.jobs import Job
from pydantic_core import to_json

from operator_core.actions import ActionProposal
from operator_core.db import ActionDB

NAME = "drain_store"
PARAMETERS = {"store": "store-4", "zone": "eu-west-1b", "drain": True, "grace_seconds": 30}
BATCH = 2_000

Claim = Callable[[], Awaitable[int | None]]


class Queue(ABC):
    """One queue in a database of its own; a DSN is a plain `postgresql://` URL."""

    name: ClassVar[str]
    claimed: ClassVar[str]
    """Selects the id of every entry of the history that says that something was claimed."""

    @abstractmethod
    async def fill(self, dsn: str, rows: int) -> None:
        """Make so many waiting entries, and the schema around them where it is not there yet."""

    @abstractmethod
    def worker(self, dsn: str, name: str) -> AbstractAsyncContextManager[Claim]:
        """Connect a worker, and give it the call that claims one entry and returns its id."""


class OperatorCore(Queue):
    """Claims with `ActionDB.claim_next`: guard on, record opened, event written, under a lease."""

    name = "operator-core"
    claimed = "SELECT proposal_id FROM action_events WHERE to_status = 'executing'"

    async def fill(self, dsn: str, rows: int) -> None:
        """Propose in bulk, and validate in one statement."""
        db = ActionDB(dsn)
        await db.migrate()
        proposal = ActionProposal(action_name=NAME, parameters=PARAMETERS, reason="store 4 is hot")
        async with db:
            for _ in range(0, rows, BATCH):
                await db.create_proposals([proposal] * BATCH)
        connection = await asyncpg.connect(dsn)
        await connection.execute("UPDATE action_proposals SET status = 'validated' WHERE status = 'proposed'")
        await connection.close()

    @asynccontextmanager
    async def worker(self, dsn: str, name: str) -> AsyncGenerator[Claim]:
        """Open a ledger."""
        async with ActionDB(dsn) as db:

            async def claim() -> int | None:
                execution = await db.claim_next(worker=name, lease_seconds=60.0)
                return None if execution is None else execution.proposal.id

            yield claim


class Procrastinate(Queue):
    """Claims with `JobManager.fetch_job`, the call of its worker, over its pool of psycopg connections."""

    name = "procrastinate"
    claimed = "SELECT job_id FROM procrastinate_events WHERE type = 'started'"

    async def fill(self, dsn: str, rows: int) -> None:
        """Defer in bulk."""
        job = Job(queue="default", lock=None, queueing_lock=None, task_name=NAME, task_kwargs=PARAMETERS)
        async with App(connector=PsycopgConnector(conninfo=dsn)).open_async() as app:
            await app.schema_manager.apply_schema_async()
            for _ in range(0, rows, BATCH):
                await app.job_manager.batch_defer_jobs_async([job] * BATCH)

    @asynccontextmanager
    async def worker(self, dsn: str, name: str) -> AsyncGenerator[Claim]:  # noqa: ARG002 - it numbers its workers
        """Open an app, and register a worker."""
        async with App(connector=PsycopgConnector(conninfo=dsn, min_size=1)).open_async() as app:
            number = await app.job_manager.register_worker()

            async def claim() -> int | None:
                job = await app.job_manager.fetch_job(queues=None, worker_id=number)
                return None if job is None else job.id

            yield claim


class PgQueuer(Queue):
    """Claims with `Queries.dequeue`, the call of its manager, in batches of one, over one asyncpg connection."""

    name = "pgqueuer"
    claimed = "SELECT job_id FROM pgqueuer_log WHERE status = 'picked'"

    async def fill(self, dsn: str, rows: int) -> None:
        """Install it, durably as is its default, and enqueue in bulk."""
        connection = await asyncpg.connect(dsn)
        queries = Queries.from_asyncpg_connection(connection)
        await queries.install()
        for _ in range(0, rows, BATCH):
            await queries.enqueue([NAME] * BATCH, [to_json(PARAMETERS)] * BATCH, [0] * BATCH)
        await connection.close()

    @asynccontextmanager
    async def worker(self, dsn: str, name: str) -> AsyncGenerator[Claim]:  # noqa: ARG002 - its managers are UUIDs
        """Connect, with the arguments that its manager has by default for an entrypoint without limits."""
        connection = await asyncpg.connect(dsn)
        queries, manager = Queries.from_asyncpg_connection(connection), QueueManagerId(uuid4())
        entrypoints = {QueueEntrypoint(NAME): EntrypointExecutionParameter(concurrency_limit=0)}

        async def claim() -> int | None:
            jobs = await queries.dequeue(1, entrypoints, manager, None, timedelta(seconds=30))
            return jobs[0].id if jobs else None

        yield claim
        await connection.close()


class Dbos(Queue):
    """Claims with `start_queued_workflows`, the call of its queue thread, on a queue that lets a worker run one.

    The call is synchronous, and each process claims one at a time, so it is made without a thread of its own.
    """

    name = "dbos"
    claimed = "SELECT workflow_uuid::bigint FROM dbos.workflow_status WHERE status = 'PENDING'"

    async def fill(self, dsn: str, rows: int) -> None:
        """Enqueue one, and copy its row: the call that enqueues takes one at a time."""
        client = DBOSClient(system_database_url=dsn, lazy=True)
        client._sys_db.run_migrations()  # noqa: SLF001 - a client never migrates
        await client.register_queue_async("bench", worker_concurrency=1)
        options = EnqueueOptions(workflow_name=NAME, queue_name="bench", workflow_id="1")
        await client.enqueue_async(options, PARAMETERS)
        client.destroy()
        with psycopg.connect(dsn, autocommit=True) as connection:
            found = connection.execute(
                "SELECT quote_ident(column_name) FROM information_schema.columns WHERE table_schema = 'dbos' "
                "AND table_name = 'workflow_status' AND column_name NOT IN ('workflow_uuid', 'created_at') "
                "AND is_generated = 'NEVER'"
            )
            columns = ", ".join(row[0] for row in found)
            connection.execute(
                f"INSERT INTO dbos.workflow_status (workflow_uuid, created_at, {columns}) "
                f"SELECT n, created_at + n, {columns} FROM dbos.workflow_status, generate_series(2, {rows}) AS n"
            )

    @asynccontextmanager
    async def worker(self, dsn: str, name: str) -> AsyncGenerator[Claim]:
        """Open a client."""
        client = DBOSClient(system_database_url=dsn)
        queue, database = await client.retrieve_queue_async("bench"), client._sys_db  # noqa: SLF001 - see the top

        async def claim() -> int | None:
            ids, _ = database.start_queued_workflows(queue, name, "1", None)
            return int(ids[0]) if ids else None

        yield claim
        client.destroy()


QUEUES: dict[str, Queue] = {queue.name: queue for queue in (OperatorCore(), Procrastinate(), PgQueuer(), Dbos())}
