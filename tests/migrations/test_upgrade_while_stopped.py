"""A stop that is engaged outlives an upgrade of the schema, and the code of both revisions obeys it."""

import pytest

from operator_core.actions import ActionStatus, KillSwitchEngagedError
from operator_core.db import ActionDB, upgrade
from tests.migrations.support import add_revision
from tests.support.factories import proposal, stored

ADD_COLUMN = 'op.add_column("action_proposals", sa.Column("colour", sa.Text()))'


async def test_a_stop_outlives_an_upgrade(ledger, monkeypatch, tmp_path):
    async with ActionDB(ledger.target) as old:
        waiting = await stored(old, ActionStatus.VALIDATED)
        receipt = await old.engage_kill_switch(by="ann", reason="fire")
        add_revision(monkeypatch, tmp_path, ADD_COLUMN)

        upgrade(ledger.target)

        with pytest.raises(KillSwitchEngagedError):
            await old.start_execution(waiting.id)
        async with ActionDB(ledger.target) as new:
            assert [stop.generation for stop in (await new.kill_switch_status()).engaged] == [receipt.generation]
            assert (await new.create_proposal(proposal())).status is ActionStatus.CANCELLED
            with pytest.raises(KillSwitchEngagedError):
                await new.start_execution(waiting.id)
