"""The model of approvals: the rules of a policy, the decisions about a proposal, and the checks of a new policy."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from operator_core.actions.errors import InvalidArgumentError
from operator_core.actions.kill_switch import EVERYTHING, Scope
from operator_core.actions.lifecycle import ActionStatus
from operator_core.actions.types import FrozenModel, Name, StoredProposal, UtcDatetime
from operator_core.actions.validation import check_exact_name

MAX_APPROVALS = 99
MAX_APPROVAL_SECONDS = 366 * 86_400
"""The longest time for which an approval may hold: a leap year."""


class Decision(StrEnum):
    """What a person or a program decided about a proposal."""

    APPROVED = "approved"
    REJECTED = "rejected"
    REVOKED = "revoked"


class ApproverKind(StrEnum):
    """What an approver is: a person, a model, or a program that follows a stated rule."""

    HUMAN = "human"
    AGENT = "agent"
    SYSTEM = "system"


class FourEyes(StrEnum):
    """Whose approval does not count: nobody's, the proposer's, or also that of the person it was proposed for."""

    NO = "no"
    PROPOSER = "proposer"
    PRINCIPAL = "principal"


def check_approval_seconds(value: float, path: str) -> float:
    """Return a number of seconds for which an approval may hold, above 0 and up to a year."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= MAX_APPROVAL_SECONDS:  # pyright: ignore[reportUnnecessaryIsInstance] - a caller may be untyped
        raise InvalidArgumentError(
            path=path, reason=f"is {value!a}; seconds above 0 and up to {MAX_APPROVAL_SECONDS:,} are wanted"
        )
    return float(value)


Seconds = Annotated[float, AfterValidator(lambda value: check_approval_seconds(value, "expires_in"))]


class ApprovalRule(FrozenModel):
    """One rule of a policy: how many approvals, and whose.

    Attributes:
        approvals: How many different approvers must have said yes, 0 to 99. A policy whose one rule asks for 0 states
            that nobody has to be asked.
        role: The capacity in which they must have said it, such as `security`; None counts every approver.
        four_eyes: `proposer`: the proposer's own approval does not count. `principal`: neither does that of the person
            named in `on_behalf_of`, and a proposal that names none has no approval that counts. `no`: all count.
        humans_only: Whether only approvals of kind `human` count.
        expires_in: The seconds for which an approval counts; None sets no limit.

    Raises:
        pydantic.ValidationError: A value is outside these limits.
    """

    approvals: Annotated[int, Field(strict=True, ge=0, le=MAX_APPROVALS)] = 1
    role: Name | None = None
    four_eyes: FourEyes = FourEyes.PROPOSER
    humans_only: bool = True
    expires_in: Seconds | None = None


class ApprovalPolicy(FrozenModel):
    """The rules in force of one scope; all of them must hold.

    Attributes:
        scope: `everything`, or `action_name=NAME`, which wins over it.
        version: Grows with each change of any policy; the event of a start names the version that it satisfied.
        at: When it was last changed, by the database's clock.
    """

    scope: str
    rules: tuple[ApprovalRule, ...]
    version: int
    at: UtcDatetime
    by: str
    reason: str


class Approval(FrozenModel):
    """One decision about a proposal, as the ledger stores it. It never changes; a revocation is another decision.

    Attributes:
        id: Counts from 1.
        status: The state of the proposal when the decision was made.
        by: The person or program that decided, as the client named it.
        kind: What decided, as the client named it.
        role: The capacity in which it was decided; None if none was named.
        login: The database role of the client's session, written by PostgreSQL; None on SQLite.
        at: When it was decided, by the database's clock.
        expires_at: When the approval stops counting; None if it does not expire by itself.
        digest: The digest of what was approved: see `ActionProposal.digest`.
        revokes: The id of the approval that this decision revokes.
        replaced_by: The id of the proposal that takes the place of the rejected one.
        generation: The number of the last stop when it was decided.
    """

    id: int
    proposal_id: int
    decision: Decision
    status: ActionStatus
    by: str
    kind: ApproverKind
    role: str | None
    login: str | None
    reason: str | None
    at: UtcDatetime
    expires_at: UtcDatetime | None
    digest: str | None
    revokes: int | None
    replaced_by: int | None
    generation: int


class ApprovalNeed(FrozenModel):
    """What one rule asks for, and what it has.

    Attributes:
        role: The role that the rule names; None if it counts every approver.
        approvals: How many different approvers it asks for.
        given: How many of them have said yes.
    """

    role: str | None
    approvals: int
    given: int

    @property
    def missing(self) -> int:
        """How many are still missing."""
        return max(0, self.approvals - self.given)

    def __str__(self) -> str:
        of_role = f" as {self.role}" if self.role else ""
        return f"{min(self.given, self.approvals)} of {self.approvals}{of_role}"


class ApprovalStatus(FrozenModel):
    """Where the approval of a proposal stands.

    Attributes:
        digest: The digest of what is to be approved.
        policy: The scope of the policy that covers it; None if no policy does. Then nothing is required until somebody
            has decided about it, and one approval that stands from then on.
        version: The version of that policy.
        needs: What each rule asks for, and what it has.
        decisions: All decisions about the proposal, oldest first.
        rejected_by: The name of the approver that rejected it: then it can never start.
        lapsed: How many approvals have expired.
        until: The moment from which approvals that count now are not enough any more; None if there is no such moment.
    """

    proposal_id: int
    status: ActionStatus
    digest: str
    policy: str | None = None
    version: int | None = None
    needs: tuple[ApprovalNeed, ...] = ()
    decisions: tuple[Approval, ...] = ()
    rejected_by: str | None = None
    lapsed: int = 0
    until: UtcDatetime | None = None

    @property
    def needed(self) -> int:
        """The number of approvals that the policy asks for: the highest of its rules."""
        return max((need.approvals for need in self.needs), default=0)

    @property
    def given(self) -> int:
        """The number of approvals that count for the rule that asks for the most."""
        return max(((need.approvals, need.given) for need in self.needs), default=(0, 0))[1]

    @property
    def missing(self) -> tuple[ApprovalNeed, ...]:
        """What is still missing, rule by rule."""
        return tuple(need for need in self.needs if need.missing)

    @property
    def is_approved(self) -> bool:
        """Whether its approvals let it start: nobody rejected it, and every rule of its policy is satisfied."""
        return self.rejected_by is None and not self.missing


class PendingApproval(FrozenModel):
    """A proposal that waits for a person, with what is missing."""

    proposal: StoredProposal
    approval: ApprovalStatus


def check_policy_scope(scope: Scope | str | None) -> str:
    """Return the text of a policy's scope.

    Raises:
        InvalidArgumentError: It is neither `everything` nor an action name: every other field is the proposer's word.
    """
    wanted = f"{EVERYTHING} or action_name=NAME"
    if isinstance(scope, str) and scope != EVERYTHING and scope.partition("=")[0] not in Scope.model_fields:
        raise InvalidArgumentError(path="scope", reason=f"is {scope!a}; a policy covers {wanted}")
    checked = Scope.coerce(scope)
    if checked.field not in (None, "action_name"):
        raise InvalidArgumentError(
            path="scope",
            reason=f"is {str(checked)!a}; a policy covers {wanted}: "
            "what else a proposal says of itself, its proposer chose",
        )
    return str(checked)


def check_rules(rules: Iterable[ApprovalRule]) -> tuple[ApprovalRule, ...]:
    """Return the rules of a policy.

    Raises:
        InvalidArgumentError: They are not rules, two name the same role, or one asks for 0 approvals in a role.
    """
    if isinstance(rules, ApprovalRule) or not isinstance(rules, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance] - a caller may be untyped
        raise InvalidArgumentError(path="rules", reason=f"is a {type(rules).__name__}; give a list of ApprovalRule")
    checked = tuple(rules)
    for rule in checked:
        if not isinstance(rule, ApprovalRule):  # pyright: ignore[reportUnnecessaryIsInstance] - the same
            raise InvalidArgumentError(path="rules", reason=f"holds a {type(rule).__name__}; give ApprovalRules")
        if rule.role is not None and not rule.approvals:
            reason = f"asks for 0 approvals as {rule.role!a}, which asks nobody; give a number, or no role"
            raise InvalidArgumentError(path="rules", reason=reason)
        if rule.role is not None:
            check_exact_name(rule.role, "role")
    roles = [rule.role for rule in checked]
    for role in roles:
        if roles.count(role) > 1:
            named = "no role" if role is None else f"the role {role!r}"
            raise InvalidArgumentError(path="rules", reason=f"holds two rules for {named}; a policy has one for each")
    return checked
