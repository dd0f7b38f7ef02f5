"""Who holds the latch locked is named, and can be ended; what a host's trigger says does not swallow a receipt."""

from collections.abc import Iterator

import pytest

from operator_core.actions import StopFailedError, StopUnconfirmedError
from tests.support.factories import stored
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.patience import IN_VAIN
from tests.support.plain_sql import on_postgresql
from tests.support.stop_steps import client, engaged, pid, stop

pytestmark = [on_postgresql, pytest.mark.usefixtures("unhurried_stops")]
HOLDS = {
    "a changed row": "UPDATE kill_switch SET engaged_at = now(), engaged_by = 'bob', reason = 'hm'",
    "no row at all": "UPDATE kill_switch SET reason = 'hm' WHERE false",
    "the table": "LOCK TABLE kill_switch IN SHARE ROW EXCLUSIVE MODE",
}


@pytest.fixture(autouse=True)
def _history(ledger: Ledger) -> Iterator[None]:
    yield
    assert check_history(ledger) == []


@pytest.mark.parametrize("hold", HOLDS)
async def test_who_holds_the_latch_is_named_by_a_stop_that_failed(db, plain, ledger, hold):
    with client(ledger) as holder:
        holder.execute(HOLDS[hold])

        with pytest.raises(StopFailedError) as caught:
            await stop(db, timeout=0.5)

        assert f"server pid {pid(holder)}" in str(caught.value)
        assert "holds the latch locked" in str(caught.value)
    assert engaged(plain) == []


@pytest.mark.parametrize("hold", HOLDS)
async def test_who_holds_the_latch_is_ended_by_a_stop_that_may(db, plain, ledger, hold):
    made = await stored(db)

    with client(ledger) as holder:
        holder.execute(HOLDS[hold])
        receipt = await stop(db, timeout=3 * IN_VAIN, terminate_blockers=True)

    assert receipt.cancelled == (made.id,)
    assert len(engaged(plain)) == 1


async def test_a_trigger_of_the_host_that_refuses_the_sweep_leaves_the_receipt(db, plain):
    made = await stored(db)
    plain.execute(
        "CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'house rule'; END$$;"
        "CREATE TRIGGER zz_never BEFORE UPDATE ON action_proposals FOR EACH ROW EXECUTE FUNCTION never()"
    )

    with pytest.raises(StopUnconfirmedError, match="house rule") as caught:
        await stop(db, timeout=IN_VAIN)

    assert caught.value.receipt.generation == 1
    assert (await db.get_proposal(made.id)).status == "proposed"
    status = await db.kill_switch_status()
    assert (len(status.engaged), status.not_yet_cancelled) == (1, (made.id,))


RECORDS = "LOCK TABLE action_records IN ACCESS EXCLUSIVE MODE"


async def test_who_keeps_a_stop_from_its_last_look_is_named_and_nothing_is_called_known(db, plain, ledger):
    with client(ledger) as holder:
        holder.execute(RECORDS)

        with pytest.raises(StopUnconfirmedError, match=r"what still executes, .* is not known") as caught:
            await stop(db, timeout=IN_VAIN)

        assert caught.value.pids == (pid(holder),)
        assert caught.value.start_possible
    assert len(engaged(plain)) == 1


async def test_who_keeps_a_stop_from_its_last_look_is_ended_by_a_stop_that_may(db, ledger):
    with client(ledger) as holder:
        holder.execute(RECORDS)

        receipt = await stop(db, timeout=3 * IN_VAIN, terminate_blockers=True)

    assert receipt.generation == 1
