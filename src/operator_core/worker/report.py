"""What a worker says about its work."""

from dataclasses import dataclass, field


@dataclass
class WorkerReport:
    """What a worker has done, in numbers and, for what somebody must look at, by the ids of the records.

    Attributes:
        validated: Proposals that fit their model.
        refused: Proposals that do not, and were cancelled.
        succeeded: Actions that ended so.
        failed: Actions that raised.
        stopped: Actions that answered a stop or a cancel request.
        recovered: Executions of other workers that were lost.
        broken_off: Those whose outcome is unknown, because the grace was over.
        lost: Those that somebody else has ended.
        still_running: Those whose handler did not end when it was cancelled.
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
