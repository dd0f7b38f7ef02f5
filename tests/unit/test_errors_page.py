"""The page about errors says what their classes say, and leaves none out."""

import operator_core.actions as public
from operator_core.actions import ActionError
from tests.support.errors_page import GROUPS, PAGE, below, page

ERRORS = [error for root in GROUPS.values() for error in below(root)]


def test_the_page_is_what_the_classes_say() -> None:
    assert PAGE.read_text() == page(), "write it anew: python -m tests.support.errors_page"


def test_the_page_names_every_public_error() -> None:
    errors = [getattr(public, name) for name in public.__all__]
    exported = {error for error in errors if isinstance(error, type) and issubclass(error, ActionError)}

    assert exported - {ActionError} == set(ERRORS)


def test_every_error_says_what_to_do_of_its_own() -> None:
    assert [error.__name__ for error in ERRORS if error not in GROUPS.values() and "advice" not in vars(error)] == []


def test_every_status_is_one_of_a_failed_request() -> None:
    assert [error.__name__ for error in ERRORS if not 400 <= error.http_status < 600] == []
