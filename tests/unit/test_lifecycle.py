"""The one table of steps, and what is derived from it."""

import pytest

from operator_core.actions import PENDING, TERMINAL, TRANSITIONS, ActionOutcome, ActionStatus
from operator_core.actions.lifecycle import (
    INITIAL,
    OUTCOMES,
    STEP_PAIRS,
    mermaid,
    source_states,
    states_always_visited,
    states_possibly_visited,
)

EXECUTING = ActionStatus.EXECUTING
every_state = pytest.mark.parametrize("status", ActionStatus)


def walk(status: ActionStatus, steps: int) -> set[ActionStatus]:
    """Return the states that are reached with exactly so many steps."""
    reached = {status}
    for _ in range(steps):
        reached = {target for source in reached for target in TRANSITIONS[source]}
    return reached


def test_every_state_stands_in_the_table_once() -> None:
    assert list(TRANSITIONS) == list(ActionStatus)


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        TRANSITIONS[ActionStatus.COMPLETED] = (ActionStatus.PROPOSED,)  # type: ignore[index]


@every_state
def test_every_state_can_be_reached_from_the_first(status: ActionStatus) -> None:
    assert status in set.union(*(walk(INITIAL, steps) for steps in range(len(ActionStatus))))


@every_state
def test_no_path_enters_a_state_twice(status: ActionStatus) -> None:
    assert all(status not in walk(status, steps) for steps in range(1, len(ActionStatus) + 1))


@every_state
def test_every_state_leads_to_a_final_one(status: ActionStatus) -> None:
    assert set(TERMINAL) & set.union(*(walk(status, steps) for steps in range(len(ActionStatus))))


def test_the_final_states_are_those_that_nothing_follows() -> None:
    assert set(TERMINAL) == {ActionStatus.COMPLETED, ActionStatus.FAILED, ActionStatus.CANCELLED}
    assert all(TRANSITIONS[status] == () for status in TERMINAL)


def test_nothing_leads_back_to_the_first_state() -> None:
    assert source_states(INITIAL) == ()


def test_an_action_starts_only_once_it_is_validated() -> None:
    assert source_states(EXECUTING) == (ActionStatus.VALIDATED,)


@every_state
def test_the_sources_of_a_state_are_those_that_have_it_as_a_target(status: ActionStatus) -> None:
    assert set(source_states(status)) == {source for source, targets in TRANSITIONS.items() if status in targets}


def test_the_steps_are_the_cells_of_the_table() -> None:
    assert len(STEP_PAIRS) == len(set(STEP_PAIRS)) == sum(len(targets) for targets in TRANSITIONS.values())
    assert all(target in TRANSITIONS[source] for source, target in STEP_PAIRS)


def test_pending_is_what_has_not_started_and_can_still_be_cancelled() -> None:
    assert set(PENDING) == {ActionStatus.PROPOSED, ActionStatus.VALIDATED}
    assert all(ActionStatus.CANCELLED in TRANSITIONS[status] for status in PENDING)


@every_state
def test_what_was_always_passed_may_have_been_passed(status: ActionStatus) -> None:
    assert {INITIAL, status} <= states_always_visited(status) <= states_possibly_visited(status)


@every_state
def test_what_may_have_been_passed_leads_to_the_state(status: ActionStatus) -> None:
    later = {state: set.union(*(walk(state, steps) for steps in range(len(ActionStatus)))) for state in ActionStatus}

    assert states_possibly_visited(status) == {state for state in ActionStatus if status in later[state]}


def test_a_completed_action_has_been_executing_and_a_cancelled_one_perhaps() -> None:
    assert EXECUTING in states_always_visited(ActionStatus.COMPLETED)
    assert EXECUTING in states_possibly_visited(ActionStatus.CANCELLED) - states_always_visited(ActionStatus.CANCELLED)


def test_every_way_out_of_an_execution_has_its_outcomes_and_nothing_else_has() -> None:
    assert set(OUTCOMES) == set(TRANSITIONS[EXECUTING])


@pytest.mark.parametrize("outcome", ActionOutcome)
def test_every_outcome_means_exactly_one_state(outcome: ActionOutcome) -> None:
    assert len([status for status, outcomes in OUTCOMES.items() if outcome in outcomes]) == 1


def test_success_and_completion_mean_each_other() -> None:
    assert OUTCOMES[ActionStatus.COMPLETED] == (ActionOutcome.SUCCEEDED,)


def test_the_diagram_draws_every_step_the_start_and_the_ends() -> None:
    arrows = {tuple(line.split(" --> ")) for line in map(str.strip, mermaid().splitlines()[1:])}

    assert arrows == {("[*]", INITIAL), *STEP_PAIRS, *((status, "[*]") for status in TERMINAL)}


@every_state
def test_a_state_reads_as_its_text(status: ActionStatus) -> None:
    assert f"{status}" == status.value == status.name.lower()
