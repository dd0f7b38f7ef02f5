"""A unit runs in the mode that it declares, and nobody who runs it has a say in that."""

import inspect

import pytest

from operator_core.db import ActionDB
from operator_core.db.modes import TransactionMode, unit
from operator_core.db.repository.base import RepositoryBase
from operator_core.db.transactions.joined import run_in_session, run_on
from operator_core.db.transactions.owned import TransactionRunner


@pytest.mark.parametrize("run", [RepositoryBase._run, TransactionRunner.run, run_in_session, run_on])
def test_who_runs_a_unit_cannot_name_a_mode(run) -> None:
    parameters = inspect.signature(run).parameters.values()

    assert [parameter.name for parameter in parameters if "Mode" in str(parameter.annotation)] == []


async def test_a_function_that_declares_no_mode_does_not_run(tmp_path) -> None:
    async with ActionDB(tmp_path / "ops.db") as db:
        with pytest.raises(AttributeError, match="mode"):
            await db._run(lambda connection: connection.exec_driver_sql("DELETE FROM action_notes"))


@pytest.mark.parametrize("mode", [TransactionMode.MULTI_WRITE, TransactionMode.TRANSACTION])
async def test_what_several_writes_of_a_unit_do_is_kept_together_or_not_at_all(tmp_path, mode: TransactionMode) -> None:
    @unit(mode)
    def write_and_fail(connection) -> None:
        connection.exec_driver_sql("CREATE TABLE half (id INTEGER)")
        raise ZeroDivisionError

    async with ActionDB(tmp_path / "ops.db") as db:
        with pytest.raises(ZeroDivisionError):
            await db._run(write_and_fail)

        @unit(TransactionMode.READ)
        def tables(connection) -> list[str]:
            return list(connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE name = 'half'").scalars())

        assert await db._run(tables) == []
