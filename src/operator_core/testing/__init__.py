"""Tools for a host's own tests: fresh ledgers, factories, steps in time, and the contract of its engine.

They need no test runner, and import none.
"""

from operator_core.testing.clock import ValidUntilFixedError, advance_time
from operator_core.testing.contract import LedgerContract
from operator_core.testing.factories import (
    make_proposal,
    store_approval_policy,
    store_approved_proposal,
    store_proposal,
)
from operator_core.testing.postgresql import FreshPostgresql, fresh_postgresql
from operator_core.testing.sqlite import fresh_sqlite

__all__ = [
    "FreshPostgresql",
    "LedgerContract",
    "ValidUntilFixedError",
    "advance_time",
    "fresh_postgresql",
    "fresh_sqlite",
    "make_proposal",
    "store_approval_policy",
    "store_approved_proposal",
    "store_proposal",
]
