"""The tables of approvals and of the policies that ask for them."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from operator_core.actions.approvals import MAX_APPROVALS, ApproverKind, Decision, FourEyes
from operator_core.actions.lifecycle import ActionStatus
from operator_core.db.schema.base import Base, counts_from_1, one_of
from operator_core.db.types import AUTOINCREMENT, WITHOUT_ROWID, BigId, EnumText, UtcDateTime


class ActionApprovalRow(Base):
    """One decision about one proposal, which never changes; without a foreign key, like an event."""

    __tablename__ = "action_approvals"

    id: Mapped[int] = mapped_column(BigId, sa.Identity(always=True), primary_key=True)
    proposal_id: Mapped[int] = mapped_column(sa.BigInteger)
    decision: Mapped[Decision] = mapped_column(EnumText(Decision))
    status: Mapped[ActionStatus] = mapped_column(EnumText(ActionStatus))
    by: Mapped[str] = mapped_column(sa.Text)
    kind: Mapped[ApproverKind] = mapped_column(EnumText(ApproverKind))
    role: Mapped[str | None] = mapped_column(sa.Text)
    login: Mapped[str | None] = mapped_column(sa.Text)
    reason: Mapped[str | None] = mapped_column(sa.Text)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    digest: Mapped[str | None] = mapped_column(sa.Text)
    revokes: Mapped[int | None] = mapped_column(sa.BigInteger, unique=True)
    replaced_by: Mapped[int | None] = mapped_column(sa.BigInteger)
    generation: Mapped[int] = mapped_column(sa.BigInteger)

    __table_args__ = (
        one_of("decision", Decision),
        one_of("kind", ApproverKind),
        sa.CheckConstraint("(decision = 'revoked') = (revokes IS NOT NULL)", name="revokes"),
        sa.CheckConstraint("decision = 'approved' OR expires_at IS NULL", name="expires_at"),
        sa.CheckConstraint("decision = 'rejected' OR replaced_by IS NULL", name="replaced_by"),
        sa.CheckConstraint("decision = 'approved' OR reason IS NOT NULL", name="reason"),
        sa.Index("ix_action_approvals_proposal_id", "proposal_id", "id"),
        counts_from_1(),
        AUTOINCREMENT,
    )


class ApprovalPolicyRow(Base):
    """One rule of the policy of a scope; all rules in force of a scope must hold."""

    __tablename__ = "approval_policies"

    scope: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    role: Mapped[str] = mapped_column(sa.Text, primary_key=True, server_default="")
    approvals: Mapped[int] = mapped_column(sa.Integer, server_default="1")
    four_eyes: Mapped[FourEyes] = mapped_column(EnumText(FourEyes), server_default=FourEyes.PROPOSER.value)
    humans_only: Mapped[bool] = mapped_column(sa.Boolean, server_default=sa.true())
    expires_seconds: Mapped[float | None] = mapped_column(sa.Double)
    in_force: Mapped[bool] = mapped_column(sa.Boolean, server_default=sa.true())
    version: Mapped[int] = mapped_column(sa.BigInteger, unique=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    by: Mapped[str] = mapped_column(sa.Text)
    reason: Mapped[str] = mapped_column(sa.Text)

    __table_args__ = (
        sa.CheckConstraint(f"approvals BETWEEN 0 AND {MAX_APPROVALS}", name="approvals"),
        one_of("four_eyes", FourEyes),
        WITHOUT_ROWID,
    )


class ApprovalPolicyEventRow(Base):
    """One change of one rule, written by the database; a version names the rules that were in force since."""

    __tablename__ = "approval_policy_events"

    id: Mapped[int] = mapped_column(BigId, sa.Identity(always=True), primary_key=True)
    version: Mapped[int] = mapped_column(sa.BigInteger, unique=True)
    scope: Mapped[str] = mapped_column(sa.Text)
    role: Mapped[str] = mapped_column(sa.Text)
    approvals: Mapped[int] = mapped_column(sa.Integer)
    four_eyes: Mapped[FourEyes] = mapped_column(EnumText(FourEyes))
    humans_only: Mapped[bool] = mapped_column(sa.Boolean)
    expires_seconds: Mapped[float | None] = mapped_column(sa.Double)
    in_force: Mapped[bool] = mapped_column(sa.Boolean)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    by: Mapped[str] = mapped_column(sa.Text)
    reason: Mapped[str] = mapped_column(sa.Text)

    __table_args__ = (counts_from_1(), AUTOINCREMENT)


approvals = Base.metadata.tables["action_approvals"]
policies = Base.metadata.tables["approval_policies"]
policy_events = Base.metadata.tables["approval_policy_events"]
