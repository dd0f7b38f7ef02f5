"""`ActionLedger`: the calls that work in any transaction, shared by `ActionDB` and `ActionRepository`."""

from operator_core.db.repository.approvals import ApprovalMixin
from operator_core.db.repository.claims import ClaimMixin
from operator_core.db.repository.history import HistoryMixin
from operator_core.db.repository.kill_switch import KillSwitchMixin
from operator_core.db.repository.proposals import ProposalMixin
from operator_core.db.repository.records import RecordMixin
from operator_core.db.repository.recovery import RecoveryMixin


class ActionLedger(ProposalMixin, RecordMixin, ClaimMixin, RecoveryMixin, ApprovalMixin, KillSwitchMixin, HistoryMixin):
    """The base of `ActionDB` and `ActionRepository`, for code that accepts either.

    In addition to what it documents, every method raises `DatabaseUnavailableError` or a subclass if the database
    cannot be used, `RetryTransactionError` if the transaction must be run again, and `SchemaError` if this version
    cannot keep its guarantees on the database.
    """
