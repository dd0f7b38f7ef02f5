"""Kills the primary right after an acknowledged stop, and promotes the standby."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from sqlalchemy.engine import make_url

from operator_core.actions import (
    ActionStatus,
    DatabaseReadOnlyError,
    KillSwitchEngagedError,
    StopReceipt,
    StopUnconfirmedError,
)
from operator_core.db import ActionDB, upgrade
from tests.support.factories import proposal, running, stored
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.patience import IN_VAIN
from tests.support.postgres import PrivatePostgres
from tests.support.race_rounds import rounds
from tests.support.standby import Standby, configure, freeze, kill, wait_until
from tests.support.stop_steps import client, engaged, stop

pytestmark = pytest.mark.usefixtures("unhurried_stops")
ROUNDS = rounds(short=2, long=20)
SETTINGS = {"synchronous_standby_names": "", "wal_writer_delay": "10s"}  # what is not waited for stays in memory


class Pair:
    """A primary with a migrated database to clone, and its standby; the one that is promoted is the next primary."""

    def __init__(self, held: ExitStack) -> None:
        self._held = held
        self.primary = held.enter_context(PrivatePostgres.start(SETTINGS))
        self._template = self.primary.create_database()
        upgrade(self.primary.url(self._template))

    def follow(self) -> None:
        """Give the primary a new standby, which no commit waits for."""
        configure(self.primary, synchronous_standby_names="")
        self.standby = self._held.enter_context(Standby.follow(self.primary))

    def wait_for_standby(self) -> None:
        """Let every commit wait for the standby from now on."""
        configure(self.primary, synchronous_standby_names="*")
        wait_until(self.primary, "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'")

    def create_ledger(self) -> Ledger:
        return Ledger(self.primary.url(self.primary.create_database(self._template)))

    def fail_over(self, ledger: Ledger) -> Ledger:
        """Kill the primary, promote the standby, and return the ledger there."""
        kill(self.primary)
        self.standby.promote()
        self.primary.close()
        self.primary = self.standby
        return Ledger(self.primary.url(str(make_url(str(ledger.target)).database)))


@pytest.fixture(scope="module")
def servers() -> Iterator[Pair]:
    """Servers of our own, to kill."""
    with ExitStack() as held:
        yield Pair(held)


@pytest.fixture
def pair(servers: Pair) -> Iterator[Pair]:
    """A primary with a standby that is up to date and that no commit waits for."""
    servers.follow()
    yield servers
    if servers.standby is not servers.primary:
        servers.standby.close()


async def holds(ledger: Ledger, receipt: StopReceipt) -> bool:
    """Tell whether a server shows a stop, and has what it swept, and cancels what is proposed now."""
    async with ActionDB(ledger.target) as db:
        shown = [latch.generation for latch in (await db.kill_switch_status()).engaged]
        swept = [await db.get_proposal(number) for number in receipt.cancelled]
        late = await db.create_proposal(proposal())
    cancelled = {made.status for made in (*swept, late) if made is not None}
    return shown == [receipt.generation] and cancelled == {ActionStatus.CANCELLED}


async def test_an_acknowledged_stop_holds_on_the_synchronous_standby_that_is_promoted(pair):
    held = 0

    for number in range(ROUNDS):
        if number:
            pair.follow()
        ledger = pair.create_ledger()
        pair.wait_for_standby()
        async with ActionDB(ledger.target) as db:
            await stored(db)
            await stored(db, ActionStatus.VALIDATED)
            await running(db)
            receipt = await stop(db)
            promoted = pair.fail_over(ledger)
        held += len(receipt.cancelled) == 2 and await holds(promoted, receipt)
        assert check_history(promoted) == []

    print(f"replication, primary killed after the receipt: {held} of {ROUNDS} stops hold on the promoted standby")
    assert held == ROUNDS


async def test_a_standby_is_read_and_says_that_it_takes_no_writes(pair):
    ledger = pair.create_ledger()
    pair.standby.catch_up(pair.primary)

    async with ActionDB(pair.standby.url(str(make_url(str(ledger.target)).database))) as db:
        assert await db.list_proposals() == []
        with pytest.raises(DatabaseReadOnlyError):
            await db.create_proposal(proposal())


async def test_what_the_stop_could_not_sweep_does_not_start_on_the_promoted_server(pair):
    ledger = pair.create_ledger()
    pair.wait_for_standby()
    async with ActionDB(ledger.target) as db:
        made = await stored(db, ActionStatus.VALIDATED)
        with client(ledger) as host:
            host.execute(f"SELECT 1 FROM action_proposals WHERE id = {made.id} FOR UPDATE")
            receipt = await stop(db, timeout=IN_VAIN)
            promoted = pair.fail_over(ledger)

    async with ActionDB(promoted.target) as db:
        with pytest.raises(KillSwitchEngagedError):
            await db.start_execution(made.id)
    assert receipt.not_yet_cancelled == (made.id,)


async def test_an_acknowledged_stop_that_an_asynchronous_standby_has_not_received_is_lost(pair):
    ledger = pair.create_ledger()
    async with ActionDB(ledger.target) as db:
        made = await stored(db, ActionStatus.VALIDATED)
        pair.standby.catch_up(pair.primary)
        pair.standby.stop_receiving()
        receipt = await stop(db)
        promoted = pair.fail_over(ledger)

    async with ActionDB(promoted.target) as db:
        status = await db.kill_switch_status()
        record = await db.start_execution(made.id)
    assert receipt.cancelled == (made.id,)
    assert (status.engaged, record.proposal_id) == ((), made.id)


@pytest.mark.parametrize("end", [kill, freeze], ids=["killed", "frozen"])
async def test_a_stop_without_its_synchronous_standby_says_so(pair, end):
    ledger = pair.create_ledger()
    async with ActionDB(ledger.target) as db:
        made = await stored(db, ActionStatus.VALIDATED)
        pair.wait_for_standby()
        end(pair.standby)
        with pytest.raises(StopUnconfirmedError, match="engaged here, not on the standby") as caught:
            await stop(db, timeout=IN_VAIN)
    with client(ledger, None) as plain:
        found = engaged(plain)

    receipt = caught.value.receipt
    print(f"replication, standby {end.__name__}: the stop said so after {receipt.stop_ms:.0f} ms of {IN_VAIN:.0f} s")
    assert (receipt.on_standby, receipt.cancelled) == (False, (made.id,))
    assert found == [("everything", receipt.generation)]
