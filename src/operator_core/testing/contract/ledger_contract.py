"""The contract: the guarantees that depend on the settings of a host's engine, as tests that a host inherits."""

from operator_core.testing.contract.approvals import ApprovalsContract
from operator_core.testing.contract.steps import StepsContract
from operator_core.testing.contract.stops import StopsContract
from operator_core.testing.contract.transactions import TransactionsContract


class LedgerContract(StepsContract, TransactionsContract, StopsContract, ApprovalsContract):
    """The tests of a host's engine: `class TestOurEngine(LedgerContract)` with a method `engine`, and `server`.

    The tests are plain methods, so any runner works: pytest without plugins, or unittest, if the class also inherits
    from `unittest.TestCase`. Each has a fresh ledger, and its own event loop.
    """
