"""The tree of errors: as it is drawn, as it is exported, readable, and able to cross the border of a process."""

import copy
import pickle
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, datetime
from types import ModuleType, NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest

import operator_core.actions
import operator_core.db
from operator_core.actions import (
    ActionError,
    ActionOutcome,
    ActionStatus,
    DatabaseUnavailableError,
    RecordNotAllowedError,
    Resolution,
    TransitionNotAllowedError,
    errors,
)
from operator_core.actions.kill_switch import Scope, StopReceipt

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RECEIPT = StopReceipt(generation=7, scope=Scope(), engaged_at=AT, publish_ms=1, stop_ms=2)
SAMPLES: dict[Any, object] = {
    bool: True,
    int: 4711,
    float: 0.5,
    str: "something is wrong",
    object: "something",
    Any: RECEIPT,
    datetime: AT,
    ActionStatus: ActionStatus.EXECUTING,
    ActionOutcome: ActionOutcome.UNKNOWN,
    Resolution: Resolution.PARTLY,
}


def tree(root: type[ActionError] = ActionError) -> Iterator[type[ActionError]]:
    """Yield every error of the library, a parent before its children."""
    yield root
    for child in root.__subclasses__():
        if child.__module__.startswith(errors.__name__):
            yield from tree(child)


def sample(annotation: Any) -> object:
    """Return a value that fits an annotation."""
    if isinstance(annotation, UnionType):
        return sample(next(one for one in get_args(annotation) if one is not NoneType))
    if get_origin(annotation) is tuple:
        return tuple(sample(one) for one in get_args(annotation) if one is not Ellipsis)
    return SAMPLES[annotation]


def made(kind: type[ActionError], *, whole: bool) -> ActionError:
    """Return an error with all of its data, or with no more than it needs."""
    if not is_dataclass(kind):
        return kind()
    notifications = get_type_hints(kind)
    wanted = [one for one in fields(kind) if whole or one.default is MISSING]
    return kind(**{one.name: sample(notifications[one.name]) for one in wanted})


KINDS = list(tree())
SPEAKING = [kind for kind in KINDS if is_dataclass(kind)]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
every_speaking_kind = pytest.mark.parametrize("kind", SPEAKING, ids=lambda kind: kind.__name__)
amounts = pytest.mark.parametrize("whole", [True, False], ids=["whole", "least"])


def test_only_the_roots_of_branches_carry_no_data() -> None:
    silent = {kind for kind in KINDS if kind not in SPEAKING}

    assert silent == {ActionError, errors.DatabaseError, errors.SchemaError}


@every_kind
@amounts
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_survives_pickling(kind: type[ActionError], protocol: int, *, whole: bool) -> None:
    error = made(kind, whole=whole)

    back = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - our own

    assert type(back) is kind
    assert (vars(back), str(back), repr(back)) == (vars(error), str(error), repr(error))


@every_kind
def test_an_error_can_be_copied(kind: type[ActionError]) -> None:
    error = made(kind, whole=True)

    assert vars(copy.copy(error)) == vars(copy.deepcopy(error)) == vars(error)


@every_kind
def test_a_note_survives_pickling(kind: type[ActionError]) -> None:
    error = made(kind, whole=True)
    error.add_note("in batch 7")

    back = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own

    assert back.__notes__ == ["in batch 7"]


@every_speaking_kind
@amounts
def test_a_message_can_be_read(kind: type[ActionError], *, whole: bool) -> None:
    message = str(made(kind, whole=whole))

    assert len(message.split()) >= 3
    assert not re.search(r"\n|  |None|<|>|\bobject at\b|datetime\.|ActionStatus|\{|\}", message)
    assert not message.endswith((".", " ", ":", ";"))


@pytest.mark.parametrize("kind", [kind for kind in SPEAKING if str in get_type_hints(kind).values()])
def test_a_message_is_made_of_the_data(kind: type[ActionError]) -> None:
    error = made(kind, whole=True)
    texts = [name for name, value in vars(error).items() if value == SAMPLES[str]]

    for name in texts:
        setattr(error, name, "another matter")

    assert "another matter" in str(error)
    assert texts


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            TransitionNotAllowedError(7, ActionStatus.COMPLETED, ActionStatus.EXECUTING),
            "proposal 7 is completed and cannot become executing",
        ),
        (
            TransitionNotAllowedError(7, ActionStatus.EXECUTING, ActionStatus.FAILED, "its record is open"),
            "proposal 7 is executing and cannot become failed: its record is open",
        ),
        (
            RecordNotAllowedError(7, ActionStatus.PROPOSED),
            "proposal 7 is proposed; a record is made only while it is executing",
        ),
    ],
)
def test_a_message_says_what_happened_and_to_whom(error: ActionError, message: str) -> None:
    assert str(error) == message


@pytest.mark.parametrize("kind", [kind for kind in KINDS if issubclass(kind, DatabaseUnavailableError)])
def test_a_database_that_cannot_be_worked_with_comes_with_advice_of_its_own(kind: type[ActionError]) -> None:
    others = [other.advice for other in KINDS if issubclass(other, DatabaseUnavailableError) and other is not kind]

    assert kind.advice not in others
    assert str(made(kind, whole=True)).endswith(kind.advice)


def test_every_error_can_be_told_apart_in_a_set() -> None:
    one, other = made(RecordNotAllowedError, whole=True), made(RecordNotAllowedError, whole=True)

    assert len({one, other, one}) == 2


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    drawn = [
        (len(branch) // 4, name)
        for branch, name in re.findall(r"^    ((?:[│├└─ ]{4})*)(\w+Error)\b", errors.__doc__ or "", re.MULTILINE)
    ]

    assert sorted(drawn) == sorted((_depth(kind), kind.__name__) for kind in KINDS)
    assert dict(_children(drawn)) == {kind.__name__: kind.__bases__[0].__name__ for kind in KINDS[1:]}


def _depth(kind: type) -> int:
    return 0 if kind is ActionError else 1 + _depth(kind.__bases__[0])


def _children(drawn: list[tuple[int, str]]) -> Iterator[tuple[str, str]]:
    """Yield each error and the one that it is drawn under."""
    above: dict[int, str] = {}
    for depth, name in drawn:
        above[depth] = name
        if depth:
            yield name, above[depth - 1]


def test_every_error_of_the_tree_is_exported() -> None:
    assert {kind.__name__ for kind in KINDS} <= set(operator_core.actions.__all__)


@pytest.mark.parametrize("module", [operator_core.actions, operator_core.db], ids=lambda module: module.__name__)
def test_what_can_be_imported_is_what_is_exported(module: ModuleType) -> None:
    public = {name for name, value in vars(module).items() if name[0] != "_" and not isinstance(value, ModuleType)}

    assert public == set(module.__all__)


@pytest.mark.parametrize("module", [operator_core.actions, operator_core.db], ids=lambda module: module.__name__)
def test_what_is_exported_is_named_once(module: ModuleType) -> None:
    assert len(module.__all__) == len(set(module.__all__))
