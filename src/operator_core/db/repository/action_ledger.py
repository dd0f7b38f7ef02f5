"""`ActionLedger`: the calls that work in any transaction, which both ways in offer."""

from operator_core.db.repository.claims import ClaimMixin
from operator_core.db.repository.history import HistoryMixin
from operator_core.db.repository.kill_switch import KillSwitchMixin
from operator_core.db.repository.proposals import ProposalMixin
from operator_core.db.repository.records import RecordMixin


class ActionLedger(ProposalMixin, RecordMixin, ClaimMixin, KillSwitchMixin, HistoryMixin):
    """The base of `ActionDB` and `ActionRepository`, for code that takes either.

    Every method raises, besides what it names: `DatabaseUnavailableError` and its kin when the database cannot be
    worked with, `RetryTransactionError` when the transaction must be run again, and `SchemaError` when the database
    is not one that this version keeps its promises on.
    """
