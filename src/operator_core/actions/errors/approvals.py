"""What approvals refuse, and how to get one."""

from dataclasses import dataclass

from operator_core.actions.errors.actions import TransitionNotAllowedError
from operator_core.actions.errors.base import ActionError


@dataclass(eq=False, kw_only=True)
class NotApprovedError(TransitionNotAllowedError):
    """Proposal `id` may neither be validated nor started: it lacks approvals that a policy asks for, or was rejected.

    Attributes:
        policy: The scope of the policy that covers it, or None if it was rejected without one.
        needed: The number of approvals that the policy asks for.
        given: The number that count now.
        missing: What is missing, a text for each rule of the policy.
        rejected_by: The name of the approver that rejected it, or None.
        lapsed: How many approvals have expired.
    """

    http_status = 409
    advice = "have the people that the message names approve it; after a rejection, propose the action anew"

    policy: str | None = None
    needed: int = 0
    given: int = 0
    missing: tuple[str, ...] = ()
    rejected_by: str | None = None
    lapsed: int = 0

    def __str__(self) -> str:
        if self.rejected_by is not None:
            return (
                f"proposal {self.id} was rejected by {self.rejected_by}: propose the action anew if it is still wanted"
            )
        if self.policy is None and not self.needed:
            return f"proposal {self.id} was not approved a moment ago, and its policy has changed since: try again"
        if self.policy is None:
            return (
                f"proposal {self.id} is not approved: no approval of it stands any more. "
                f"`operator-core approve {self.id}` records another"
            )
        lapsed = f"; {self.lapsed} expired" if self.lapsed else ""
        missing = ", ".join(self.missing) or f"{self.given} of {self.needed}"
        return (
            f"proposal {self.id} is not approved yet: {missing} (policy for {self.policy}{lapsed}). "
            f"`operator-core approve {self.id}` records an approval"
        )


@dataclass(eq=False)
class ApprovalRefusedError(ActionError):
    """A decision about a proposal was refused, because it came too late or contradicts what is stored."""

    http_status = 409
    advice = "read the state of the proposal again; if it is already running, call `request_cancel` to ask it to stop"

    proposal_id: int
    problem: str

    def __str__(self) -> str:
        return f"the decision about proposal {self.proposal_id} was refused: {self.problem}"


@dataclass(eq=False)
class SelfApprovalError(ApprovalRefusedError):
    """An approval was refused, because no rule of the policy counts it: the approver proposed the action."""

    http_status = 403
    advice = "have another person approve it"


@dataclass(eq=False)
class DigestMismatchError(ActionError):
    """What was approved is not what the ledger holds: the digests differ.

    From `approve`: nothing was stored. From a claim or a start: the record is closed as failed, and nothing ran.
    """

    http_status = 409
    advice = "show the proposal again, as the ledger holds it, and decide anew"

    proposal_id: int
    given: str
    expected: str

    def __str__(self) -> str:
        return (
            f"proposal {self.proposal_id} has the digest {self.expected}, and {self.given} was approved: "
            "that is not the action that would run. Show it again, and decide anew"
        )


@dataclass(eq=False)
class PolicyUnconfirmedError(ActionError):
    """The policy IS in force, but a start that was under way before it may still get through."""

    http_status = 503
    advice = "set the policy again: that waits once more for the starts that are under way"

    scope: str
    problem: str

    def __str__(self) -> str:
        return (
            f"the policy for {self.scope} is in force, but a start that was under way may still get through: "
            f"{self.problem}. Set it again to wait for it once more"
        )


@dataclass(eq=False)
class ApprovalNotFoundError(ActionError):
    """There is no decision with this id."""

    http_status = 404
    advice = "list the decisions of the proposal, and name the id of an approval"

    approval_id: int

    def __str__(self) -> str:
        return (
            f"there is no approval {self.approval_id}: "
            "`approval_status`, or `operator-core show`, lists those of a proposal"
        )
