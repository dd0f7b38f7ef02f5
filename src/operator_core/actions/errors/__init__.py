"""Everything that this library raises, in one tree.

::

    ActionError
    ├── ProposalNotFoundError          there is no such proposal
    ├── RecordNotFoundError            there is no such record
    ├── TransitionNotAllowedError      the transition table, or the winner of a race, forbids it
    │   ├── KillSwitchEngagedError     a stop covers the start
    │   ├── ProposalExpiredError       its time to start is over
    │   └── NotApprovedError           it lacks approvals that a policy asks for, or was rejected
    ├── ApprovalNotFoundError          there is no such decision
    ├── ApprovalRefusedError           a decision came too late, or contradicts what is stored
    │   └── SelfApprovalError          the approver proposed the action
    ├── DigestMismatchError            what was approved is not what would run
    ├── PolicyUnconfirmedError         the policy is in force, but a start may still get through
    ├── LeaseLostError                 an execution was recovered, or ended by another client
    ├── StopRequestedError             a running action was asked to stop, and leaves
    ├── AlreadyResolvedError           the outcome is not unknown, or was resolved before
    ├── IdempotencyKeyError            the key belongs to a proposal with other content
    ├── NotRetryableError              the proposal to retry is not finished
    ├── WaitTimeoutError               a proposal has not reached a state in time
    ├── RecordNotAllowedError          the proposal is not executing, or has a record already
    ├── StopNotEngagedError            a release names a stop that is not engaged
    ├── StopUnconfirmedError           the stop is engaged, but something may still get through
    ├── StopFailedError                the stop is NOT engaged
    ├── RequiresActionDBError          a joined session cannot engage or release
    ├── AlreadyStoredError             an insert was given an id or a state
    ├── InvalidArgumentError           an argument is wrong; also a ValueError
    ├── ValueNotStorableError          a value would not come back equal; also a ValueError
    ├── IsolationLevelError            an action was started outside READ COMMITTED
    ├── NotOpenError                   an ActionDB was used before `open` or after `close`
    │   └── OpenedElsewhereError       it was opened in another process or event loop
    ├── SessionBusyError               two tasks use one session at the same time
    ├── EngineNotConfiguredError       a host's engine was not passed to `configure_engine`
    └── DatabaseError
        ├── DatabaseUrlError           the target is not a URL that this library can use
        ├── MissingDriverError         the driver of the URL is not installed
        ├── EngineVersionError         SQLite or PostgreSQL is too old
        ├── DatabaseEncodingError      the database does not keep Unicode
        ├── SchemaError
        │   ├── SchemaOutOfDateError   the database is behind, or holds no ledger
        │   ├── SchemaTooNewError      the database is ahead of this library
        │   ├── GuardMissingError      a guard is missing, disabled or altered
        │   ├── NameTakenError         a host uses one of our names for something else
        │   └── RevisionUnknownError   the tables exist, but not their revision
        ├── RetryTransactionError      run your transaction again
        ├── ConstraintError            the database refused a row
        ├── UnreadableRowError         a row exists, but cannot be read
        └── DatabaseUnavailableError   it cannot be reached or used now
            ├── ConnectionLostError    the connection broke during a statement, whose outcome is unknown
            ├── DatabaseNotFoundError  no such folder, file or database
            ├── DatabaseAccessError    wrong password, or no permission
            ├── DatabaseLockedError    another client holds a lock for longer than we wait
            ├── DatabaseReadOnlyError  it cannot be written
            ├── DatabaseFullError      the disk is full
            ├── DatabaseCorruptError   the file is damaged, or is not a database
            ├── DatabaseReplacedError  the file or its log was deleted or replaced while it was open
            ├── DatabaseAliasError     the file or its log has a second name: a hard link, or a mount
            └── TooManyOpenFilesError  no file descriptor is left

Each carries its data as attributes, builds its own message, and survives pickling. A driver's error is its `__cause__`.
"""

from operator_core.actions.errors.actions import (
    AlreadyResolvedError,
    IdempotencyKeyError,
    KillSwitchEngagedError,
    LeaseLostError,
    NotRetryableError,
    ProposalExpiredError,
    ProposalNotFoundError,
    RecordNotAllowedError,
    RecordNotFoundError,
    StopFailedError,
    StopNotEngagedError,
    StopRequestedError,
    StopUnconfirmedError,
    TransitionNotAllowedError,
    WaitTimeoutError,
)
from operator_core.actions.errors.approvals import (
    ApprovalNotFoundError,
    ApprovalRefusedError,
    DigestMismatchError,
    NotApprovedError,
    PolicyUnconfirmedError,
    SelfApprovalError,
)
from operator_core.actions.errors.base import ActionError
from operator_core.actions.errors.calls import (
    AlreadyStoredError,
    EngineNotConfiguredError,
    InvalidArgumentError,
    IsolationLevelError,
    NotOpenError,
    OpenedElsewhereError,
    RequiresActionDBError,
    SessionBusyError,
    ValueNotStorableError,
)
from operator_core.actions.errors.database import (
    ConnectionLostError,
    ConstraintError,
    DatabaseAccessError,
    DatabaseAliasError,
    DatabaseCorruptError,
    DatabaseEncodingError,
    DatabaseError,
    DatabaseFullError,
    DatabaseLockedError,
    DatabaseNotFoundError,
    DatabaseReadOnlyError,
    DatabaseReplacedError,
    DatabaseUnavailableError,
    DatabaseUrlError,
    EngineVersionError,
    GuardMissingError,
    MissingDriverError,
    NameTakenError,
    RetryTransactionError,
    RevisionUnknownError,
    SchemaError,
    SchemaOutOfDateError,
    SchemaTooNewError,
    TooManyOpenFilesError,
    UnreadableRowError,
)

__all__ = [
    "ActionError",
    "AlreadyResolvedError",
    "AlreadyStoredError",
    "ApprovalNotFoundError",
    "ApprovalRefusedError",
    "ConnectionLostError",
    "ConstraintError",
    "DatabaseAccessError",
    "DatabaseAliasError",
    "DatabaseCorruptError",
    "DatabaseEncodingError",
    "DatabaseError",
    "DatabaseFullError",
    "DatabaseLockedError",
    "DatabaseNotFoundError",
    "DatabaseReadOnlyError",
    "DatabaseReplacedError",
    "DatabaseUnavailableError",
    "DatabaseUrlError",
    "DigestMismatchError",
    "EngineNotConfiguredError",
    "EngineVersionError",
    "GuardMissingError",
    "IdempotencyKeyError",
    "InvalidArgumentError",
    "IsolationLevelError",
    "KillSwitchEngagedError",
    "LeaseLostError",
    "MissingDriverError",
    "NameTakenError",
    "NotApprovedError",
    "NotOpenError",
    "NotRetryableError",
    "OpenedElsewhereError",
    "PolicyUnconfirmedError",
    "ProposalExpiredError",
    "ProposalNotFoundError",
    "RecordNotAllowedError",
    "RecordNotFoundError",
    "RequiresActionDBError",
    "RetryTransactionError",
    "RevisionUnknownError",
    "SchemaError",
    "SchemaOutOfDateError",
    "SchemaTooNewError",
    "SelfApprovalError",
    "SessionBusyError",
    "StopFailedError",
    "StopNotEngagedError",
    "StopRequestedError",
    "StopUnconfirmedError",
    "TooManyOpenFilesError",
    "TransitionNotAllowedError",
    "UnreadableRowError",
    "ValueNotStorableError",
    "WaitTimeoutError",
]
