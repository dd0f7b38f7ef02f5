"""The one table of steps, and what is derived from it."""

import pytest

from operator_core.actions import PENDING, TERMINAL, TRANSITIONS, ActionOutcome, ActionStatus
from operator_core.actions.lifecycle import INITIAL, OUTCOMES, STEPS, always_passed, ever_passed, mermaid, sources

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
    assert sources(INITIAL) == ()


def test_an_action_starts_only_once_it_is_validated() -> None:
    assert sources(EXECUTING) == (ActionStatus.VALIDATED,)


@every_state
def test_the_sources_of_a_state_are_those_that_have_it_as_a_target(status: ActionStatus) -> None:
    assert set(sources(status)) == {source for source, targets in TRANSITIONS.items() if status in targets}


def test_the_steps_are_the_cells_of_the_table() -> None:
    assert len(STEPS) == len(set(STEPS)) == sum(len(targets) for targets in TRANSITIONS.values())
    assert all(target in TRANSITIONS[source] for source, target in STEPS)


def test_pending_is_what_has_not_started_and_can_still_be_cancelled() -> None:
    assert set(PENDING) == {ActionStatus.PROPOSED, ActionStatus.VALIDATED}
    assert all(ActionStatus.CANCELLED in TRANSITIONS[status] for status in PENDING)


@every_state
def test_what_was_always_passed_may_have_been_passed(status: ActionStatus) -> None:
    assert {INITIAL, status} <= always_passed(status) <= ever_passed(status)


@every_state
def test_what_may_have_been_passed_leads_to_the_state(status: ActionStatus) -> None:
    later = {state: set.union(*(walk(state, steps) for steps in range(len(ActionStatus)))) for state in ActionStatus}

    assert ever_passed(status) == {state for state in ActionStatus if status in later[state]}


def test_a_completed_action_has_been_executing_and_a_cancelled_one_perhaps() -> None:
    assert EXECUTING in always_passed(ActionStatus.COMPLETED)
    assert EXECUTING in ever_passed(ActionStatus.CANCELLED) - always_passed(ActionStatus.CANCELLED)


def test_every_way_out_of_an_execution_has_its_outcomes_and_nothing_else_has() -> None:
    assert set(OUTCOMES) == set(TRANSITIONS[EXECUTING])


@pytest.mark.parametrize("outcome", ActionOutcome)
def test_every_outcome_means_exactly_one_state(outcome: ActionOutcome) -> None:
    assert len([status for status, outcomes in OUTCOMES.items() if outcome in outcomes]) == 1


def test_success_and_completion_mean_each_other() -> None:
    assert OUTCOMES[ActionStatus.COMPLETED] == (ActionOutcome.SUCCEEDED,)


def test_the_diagram_draws_every_step_the_start_and_the_ends() -> None:
    arrows = {tuple(line.split(" --> ")) for line in map(str.strip, mermaid().splitlines()[1:])}

    assert arrows == {("[*]", INITIAL), *STEPS, *((status, "[*]") for status in TERMINAL)}


@every_state
def test_a_state_reads_as_its_text(status: ActionStatus) -> None:
    assert f"{status}" == status.value == status.name.lower()
