"""The report of a worker."""

from dataclasses import dataclass, field


@dataclass
class WorkerReport:
    """The work of one worker, in numbers, and in record ids for executions that need attention.

    Attributes:
        validated: Proposals that fit their model.
        rejected: Proposals that do not fit their model, and were cancelled.
        succeeded: Actions that succeeded.
        failed: Actions that raised an error.
        stopped: Actions that answered a stop or a cancel request.
        recovered: Lost executions of other workers.
        aborted: Executions whose outcome is unknown, because the shutdown timeout was over.
        lost: Executions that another client has ended.
        still_running: Executions whose handler did not end when it was cancelled.
    """

    validated: int = 0
    rejected: int = 0
    succeeded: int = 0
    failed: int = 0
    stopped: int = 0
    recovered: int = 0
    aborted: list[int] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    still_running: list[int] = field(default_factory=list)
