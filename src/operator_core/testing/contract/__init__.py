"""The contract: the promises that rest on the settings of a host's engine, as a class of tests that a host inherits."""

from operator_core.testing.contract.steps import StepsContract
from operator_core.testing.contract.stops import StopsContract
from operator_core.testing.contract.transactions import TransactionsContract


class LedgerContract(StepsContract, TransactionsContract, StopsContract):
    """Tests an engine of a host: `class TestOurEngine(LedgerContract)` with a method `engine`, and `server`.

    The tests are plain methods, so any runner will do: pytest without plugins, or unittest, where the class inherits
    from `unittest.TestCase` too. Each has a fresh ledger, and an event loop of its own.
    """


__all__ = ["LedgerContract"]
