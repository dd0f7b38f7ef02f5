"""What the calls about proposals do on each engine: create, get, list, iterate, count and cancel."""

from datetime import UTC, datetime, timedelta

import pytest

from operator_core.actions import (
    ActionProposal,
    ActionStatus,
    ActionType,
    AlreadyStoredError,
    InvalidArgumentError,
    StoredProposal,
    ValueNotStorableError,
)
from operator_core.actions.lifecycle import PENDING
from operator_core.db import ActionDB, ActionRepository
from operator_core.db.stores.mapping import PROPOSER_COLUMNS
from tests.support.factories import proposal, running, stored

UNPENDING = [status for status in ActionStatus if status not in PENDING]
SMUGGLED = [
    ({"parameters": {"a": float("nan")}}, ValueNotStorableError),
    ({"reason": "a\0b"}, ValueNotStorableError),
    ({"proposed_by": ""}, InvalidArgumentError),
    ({"ticket_id": 2**63}, ValueNotStorableError),
    ({"id": 7}, AlreadyStoredError),
    ({"status": ActionStatus.EXECUTING}, AlreadyStoredError),
    ({"proposed_at": datetime(2026, 1, 2)}, ValueNotStorableError),  # noqa: DTZ001 - naive is what is refused
    ({"action_type": "weapon"}, ValueNotStorableError),
    ({"action_name": None}, ValueNotStorableError),
]


async def made_of_each(db: ActionRepository) -> list[StoredProposal]:
    """Store a proposal in each state; they differ in all that can be filtered by."""
    types = list(ActionType)
    return [
        await stored(
            db,
            status,
            action_name=f"name-{index % 2}",
            action_type=types[index % 3],
            proposed_by=f"agent-{index % 2}",
            ticket_id=None if index == 5 else index % 3,
        )
        for index, status in enumerate(ActionStatus)
    ]


async def create_one(db: ActionRepository, given: ActionProposal) -> StoredProposal:
    return await db.create_proposal(given)


async def create_among_others(db: ActionRepository, given: ActionProposal) -> StoredProposal:
    return (await db.create_proposals([proposal(), given, proposal()]))[1]


both_ways = pytest.mark.parametrize("create", [create_one, create_among_others])


@both_ways
async def test_a_new_proposal_comes_back_with_what_the_database_gives(db: ActionDB, create) -> None:
    given = proposal(ticket_id=7, action_type=ActionType.TOOL, parameters={"store": 4}, proposed_by="agent-7")

    made = await create(db, given)

    assert made.model_dump(include=set(PROPOSER_COLUMNS)) == given.model_dump(include=set(PROPOSER_COLUMNS))
    assert (made.status, made.status_by, made.status_reason) == (ActionStatus.PROPOSED, "agent-7", None)
    assert (made.generation, made.cancelled_at) == (0, None)
    assert made == await db.get_proposal(made.id)


async def test_ids_count_from_one_and_grow(db: ActionDB) -> None:
    one = await db.create_proposal(proposal())
    more = await db.create_proposals([proposal(), proposal()])

    assert one.id == 1
    assert one.id < more[0].id < more[1].id


@both_ways
async def test_the_time_of_the_state_is_the_databases_and_not_the_proposers(db: ActionDB, create) -> None:
    before = datetime.now(UTC)

    made = await create(db, proposal(proposed_at=datetime(1999, 12, 31, tzinfo=UTC)))

    assert made.proposed_at == datetime(1999, 12, 31, tzinfo=UTC)
    assert before - timedelta(minutes=1) < made.status_at < datetime.now(UTC) + timedelta(minutes=1)


@both_ways
@pytest.mark.parametrize("number", [0, 1, -1])
async def test_a_proposal_with_an_id_is_not_new(db: ActionDB, create, number: int) -> None:
    with pytest.raises(AlreadyStoredError, match=f"a new proposal has no id yet, but this one has {number}") as caught:
        await create(db, proposal(id=number))

    assert (caught.value.kind, caught.value.field, caught.value.value) == ("proposal", "id", number)
    assert await db.list_proposals() == []


@both_ways
@pytest.mark.parametrize("status", [status for status in ActionStatus if status is not ActionStatus.PROPOSED])
async def test_a_proposal_with_a_later_state_is_not_new(db: ActionDB, create, status: ActionStatus) -> None:
    with pytest.raises(AlreadyStoredError) as caught:
        await create(db, proposal(status=status))

    assert (caught.value.field, caught.value.value) == ("status", status)
    assert await db.list_proposals() == []


@both_ways
@pytest.mark.parametrize(("update", "error"), SMUGGLED)
async def test_what_model_copy_lets_in_is_refused_by_the_store(db: ActionDB, create, update, error) -> None:
    smuggled = proposal().model_copy(update=update)

    with pytest.raises(error):
        await create(db, smuggled)

    assert await db.list_proposals() == []


async def test_a_stored_proposal_cannot_be_stored_again(db: ActionDB) -> None:
    made = await db.create_proposal(proposal())

    with pytest.raises(AlreadyStoredError):
        await db.create_proposal(made)

    assert len(await db.list_proposals()) == 1


async def test_no_proposals_at_all_are_created_in_peace(db: ActionDB) -> None:
    assert await db.create_proposals([]) == []


async def test_five_thousand_proposals_come_back_in_their_order(db: ActionDB) -> None:
    given = [proposal(action_name=f"a{index}", parameters={"n": index}) for index in range(5_000)]

    made = await db.create_proposals(given)

    assert [one.action_name for one in made] == [one.action_name for one in given]
    assert [one.parameters for one in made] == [one.parameters for one in given]
    assert made == sorted(await db.list_proposals(), key=lambda one: one.id)


async def test_each_of_many_proposals_has_its_first_event(db: ActionDB, plain) -> None:
    await db.create_proposals([proposal() for _ in range(2_500)])

    events = plain.execute("SELECT count(*), count(DISTINCT proposal_id) FROM action_events").fetchone()
    assert tuple(events) == (2_500, 2_500)


async def test_a_tuple_of_proposals_is_a_sequence_too(db: ActionDB) -> None:
    made = await db.create_proposals((proposal(action_name="a"), proposal(action_name="b")))

    assert [one.action_name for one in made] == ["a", "b"]


async def test_a_proposal_that_does_not_exist_is_none(db: ActionDB) -> None:
    assert await db.get_proposal(4711) is None


async def test_proposals_are_listed_newest_first(db: ActionDB) -> None:
    made = await made_of_each(db)

    assert await db.list_proposals() == made[::-1]


@pytest.mark.parametrize("status", ActionStatus)
async def test_proposals_are_listed_by_state(db: ActionDB, status: ActionStatus) -> None:
    made = await made_of_each(db)

    found = await db.list_proposals(status)

    assert found == [one for one in made if one.status is status]


@pytest.mark.parametrize(
    "filters",
    [
        {"ticket_id": 0},
        {"action_name": "name-1"},
        {"action_type": ActionType.SUBJECT},
        {"action_type": "tool"},
        {"proposed_by": "agent-0"},
        {"action_name": "name-0", "action_type": ActionType.WORKFLOW, "proposed_by": "agent-0", "ticket_id": 2},
        {"action_name": "name-0", "proposed_by": "agent-1"},
    ],
)
async def test_proposals_are_listed_by_all_filters_at_once(db: ActionDB, filters) -> None:
    made = await made_of_each(db)
    wanted = [one for one in made[::-1] if all(getattr(one, name) == value for name, value in filters.items())]

    found = await db.list_proposals(**filters)

    assert found == wanted
    assert sum((await db.count_proposals(**filters)).values()) == len(wanted)
    assert [one async for one in db.iter_proposals(**filters)] == wanted


async def test_a_state_and_a_filter_are_combined(db: ActionDB) -> None:
    await stored(db, ActionStatus.VALIDATED, ticket_id=1)
    await stored(db, ActionStatus.PROPOSED, ticket_id=2)
    wanted = await stored(db, ActionStatus.VALIDATED, ticket_id=2)

    assert await db.list_proposals("validated", ticket_id=2) == [wanted]


async def test_pages_by_key_show_each_proposal_once_also_when_new_ones_come(db: ActionDB) -> None:
    made = await db.create_proposals([proposal() for _ in range(7)])
    first = await db.list_proposals(limit=3)
    await db.create_proposals([proposal() for _ in range(5)])

    second = await db.list_proposals(limit=3, before_id=first[-1].id)
    third = await db.list_proposals(limit=3, before_id=second[-1].id)

    assert [*first, *second, *third] == made[::-1]


@pytest.mark.parametrize("limit", [0, -1])
async def test_a_page_without_room_is_refused(db: ActionDB, limit: int) -> None:
    with pytest.raises(InvalidArgumentError, match=f"limit is {limit}; ask for 1 or more"):
        await db.list_proposals(limit=limit)


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7, 500])
async def test_iterating_gives_what_listing_gives_for_every_size_of_chunk(db: ActionDB, size: int) -> None:
    await db.create_proposals([proposal() for _ in range(6)])

    found = [one async for one in db.iter_proposals(chunk_size=size)]

    assert found == await db.list_proposals()


async def test_iterating_reads_no_more_than_a_chunk_at_a_time(db: ActionDB, monkeypatch: pytest.MonkeyPatch) -> None:
    await db.create_proposals([proposal() for _ in range(7)])
    chunks = []
    run = ActionDB._run

    async def watched(self, *args):
        chunks.append(await run(self, *args))
        return chunks[-1]

    monkeypatch.setattr(ActionDB, "_run", watched)
    read = [(one.id, len(chunks)) async for one in db.iter_proposals(chunk_size=3)]

    assert [len(chunk.items) for chunk in chunks] == [3, 3, 1]
    assert [chunk for _, chunk in read] == [1, 1, 1, 2, 2, 2, 3]


async def test_iterating_locks_nothing_and_does_not_see_what_is_proposed_meanwhile(db: ActionDB) -> None:
    made = await db.create_proposals([proposal() for _ in range(4)])

    found = []
    async for one in db.iter_proposals(chunk_size=1):
        found.append(one.id)
        await db.create_proposal(proposal())

    assert found == [one.id for one in made[::-1]]


async def test_an_empty_ledger_counts_six_times_nothing(db: ActionDB) -> None:
    assert await db.count_proposals() == dict.fromkeys(ActionStatus, 0)


async def test_all_six_states_are_counted(db: ActionDB) -> None:
    await made_of_each(db)
    await stored(db, ActionStatus.FAILED)

    assert await db.count_proposals() == {**dict.fromkeys(ActionStatus, 1), ActionStatus.FAILED: 2}


@pytest.mark.parametrize("status", ActionStatus)
async def test_counting_one_state_still_names_all_six(db: ActionDB, status: ActionStatus) -> None:
    await made_of_each(db)

    assert await db.count_proposals(status) == {**dict.fromkeys(ActionStatus, 0), status: 1}


async def test_cancelling_all_pending_returns_the_number_of_events_that_it_wrote(db: ActionDB, plain) -> None:
    await made_of_each(db)
    await db.create_proposals([proposal() for _ in range(40)])
    (before,) = plain.execute("SELECT count(*) FROM action_events").fetchone()

    cancelled = await db.cancel_all_pending(by="ann", reason="all off")

    (after,) = plain.execute("SELECT count(*) FROM action_events").fetchone()
    assert cancelled == 42 == after - before


async def test_cancelling_all_pending_says_who_and_why(db: ActionDB) -> None:
    made = await stored(db, ActionStatus.VALIDATED)

    await db.cancel_all_pending(by="ann", reason="all off")

    found = await db.get_proposal(made.id)
    assert (found.status, found.status_by, found.status_reason) == (ActionStatus.CANCELLED, "ann", "all off")


async def test_cancelling_all_pending_touches_nothing_else(db: ActionDB) -> None:
    made = await made_of_each(db)
    others = [one for one in made if one.status in UNPENDING]
    records = [await db.get_records_for_proposal(one.id) for one in others]

    await db.cancel_all_pending()

    assert [await db.get_proposal(one.id) for one in others] == others
    assert [await db.get_records_for_proposal(one.id) for one in others] == records


async def test_cancelling_all_pending_twice_cancels_nothing_more(db: ActionDB) -> None:
    await stored(db)
    await db.cancel_all_pending()

    assert await db.cancel_all_pending() == 0


async def test_cancelling_all_pending_stops_nothing_that_is_proposed_later(db: ActionDB) -> None:
    await db.cancel_all_pending()

    record = await running(db)

    assert record.outcome is None


@pytest.mark.parametrize("name", ["action_name", "proposed_by"])
@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
async def test_a_text_that_cannot_be_stored_is_refused_as_a_filter(db: ActionDB, name: str, text: str) -> None:
    with pytest.raises(ValueNotStorableError) as caught:
        await db.list_proposals(**{name: text})

    assert caught.value.path == name


@pytest.mark.parametrize("name", ["ticket_id", "before_id", "limit"])
async def test_a_number_beyond_64_bits_is_refused_as_a_filter(db: ActionDB, name: str) -> None:
    with pytest.raises(ValueNotStorableError) as caught:
        await db.list_proposals(**{name: 2**63})

    assert caught.value.path == name
