"""The model of an action, without a database: states, DTOs and errors."""

from operator_core.actions import errors as _errors
from operator_core.actions.approvals import (
    Approval,
    ApprovalNeed,
    ApprovalPolicy,
    ApprovalRule,
    ApprovalStatus,
    ApproverKind,
    Decision,
    FourEyes,
    PendingApproval,
)
from operator_core.actions.errors import *  # noqa: F403 - its __all__ is the list
from operator_core.actions.kill_switch import (
    Answer,
    KillSwitchEvent,
    KillSwitchStatus,
    RunningAction,
    Scope,
    Stop,
    StopReceipt,
    StopRequest,
    StopResponse,
)
from operator_core.actions.lifecycle import PENDING, TERMINAL, TRANSITIONS, ActionOutcome, ActionStatus, Resolution
from operator_core.actions.reports import Discrepancy, PruneReport
from operator_core.actions.types import (
    ActionEvent,
    ActionProposal,
    ActionRecord,
    ActionType,
    EventKind,
    ExecutionResult,
    StoredProposal,
    StoredRecord,
)

__all__ = [
    "PENDING",
    "TERMINAL",
    "TRANSITIONS",
    "ActionEvent",
    "ActionOutcome",
    "ActionProposal",
    "ActionRecord",
    "ActionStatus",
    "ActionType",
    "Answer",
    "Approval",
    "ApprovalNeed",
    "ApprovalPolicy",
    "ApprovalRule",
    "ApprovalStatus",
    "ApproverKind",
    "Decision",
    "Discrepancy",
    "EventKind",
    "ExecutionResult",
    "FourEyes",
    "KillSwitchEvent",
    "KillSwitchStatus",
    "PendingApproval",
    "PruneReport",
    "Resolution",
    "RunningAction",
    "Scope",
    "Stop",
    "StopReceipt",
    "StopRequest",
    "StopResponse",
    "StoredProposal",
    "StoredRecord",
]
__all__ += _errors.__all__
