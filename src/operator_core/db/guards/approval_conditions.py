"""The conditions on approvals that the guards and the claims of both engines share, in plain SQL.

In these texts `g` is a rule of a policy, `d` a decision, and `row` the proposal that they are about.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement

from operator_core.actions.approvals import MAX_APPROVAL_SECONDS, ApproverKind, Decision, FourEyes
from operator_core.actions.kill_switch import EVERYTHING
from operator_core.actions.lifecycle import INITIAL, PENDING
from operator_core.actions.validation import MAX_NAME_CHARACTERS
from operator_core.db.guards.conditions import KillSwitchConditions
from operator_core.db.schema import status_in
from operator_core.db.types import sqlite_time

NEEDS_APPROVAL = ("validated", "executing")
"""The states that no proposal reaches without the approvals that its policy asks for."""

ANY_POLICY = "EXISTS (SELECT 1 FROM approval_policies AS g WHERE g.in_force)"
"""The condition that there is a policy at all: without one, nothing else is looked up."""

NEXT_VERSION = (
    "(SELECT coalesce(max(n.version), 0) + 1 FROM (SELECT max(g.version) AS version FROM approval_policies AS g "
    "UNION ALL SELECT max(e.version) FROM approval_policy_events AS e) AS n)"
)
IS_NEXT_POLICY_EVENT = (
    "EXISTS (SELECT 1 FROM approval_policies AS g WHERE g.scope = NEW.scope AND g.role = NEW.role "
    "AND g.version = NEW.version AND g.approvals = NEW.approvals AND g.four_eyes = NEW.four_eyes "
    "AND g.humans_only = NEW.humans_only AND g.in_force = NEW.in_force AND g.at = NEW.at)"
)

_CLOCK = {
    "postgresql": "clock_timestamp()",
    "sqlite": sqlite_time(),
}
_LATER = {
    "postgresql": "{} + make_interval(secs => {})",
    "sqlite": sqlite_time("{}", "{} || ' seconds'"),
}


STANDS = (
    "NOT EXISTS (SELECT 1 FROM action_approvals AS v JOIN action_approvals AS r ON r.id = v.revokes "
    'WHERE v.proposal_id = d.proposal_id AND v.id > d.id AND r."by" = d."by")'
)
"""The condition that nobody has taken back an approval: a revocation takes back all that its approver has given."""


@dataclass(frozen=True)
class ApprovalConditions:
    """The conditions on the approvals of the proposal row called `row`, in the SQL of `dialect`."""

    dialect: str
    row: str = "NEW"

    @property
    def scope(self) -> str:
        """The scope whose policy covers the proposal, as an expression; the name's wins over everything's."""
        name = f"'action_name=' || CAST({self.row}.action_name AS TEXT)"
        # Without ORDER BY, for which SQLite would build a sorter.
        in_force = "EXISTS (SELECT 1 FROM approval_policies AS g WHERE g.in_force AND g.scope = {0}) THEN {0}"
        return f"CASE WHEN {in_force.format(name)} WHEN {in_force.format(repr(EVERYTHING))} END"

    @property
    def counts(self) -> str:
        """The condition that a decision is an approval which counts for a rule now."""
        by_rule = _LATER[self.dialect].format("d.at", "g.expires_seconds")
        return (
            f"d.proposal_id = {self.row}.id AND d.decision = '{Decision.APPROVED}' "
            "AND (g.role = '' OR d.role = g.role) "
            f"AND (NOT g.humans_only OR d.kind = '{ApproverKind.HUMAN}') "
            f"AND (g.four_eyes = '{FourEyes.NO}' OR d.\"by\" <> {self.row}.proposed_by) "
            # Where the principal is not named, this is NULL: nobody is known to be another person.
            f"AND (g.four_eyes <> '{FourEyes.PRINCIPAL}' OR d.\"by\" <> {self.row}.on_behalf_of) "
            f"AND {self._unexpired} "
            f"AND (g.expires_seconds IS NULL OR {by_rule} > {_CLOCK[self.dialect]}) "
            f"AND {STANDS}"
        )

    @property
    def _unexpired(self) -> str:
        return f"(d.expires_at IS NULL OR d.expires_at > {_CLOCK[self.dialect]})"

    @property
    def decided(self) -> str:
        """The condition that somebody has decided anything about the proposal."""
        return self._any_decision()

    @property
    def endorsed(self) -> str:
        """The condition that an approval stands which counts where no policy covers: anybody's but a model's."""
        return self._any_decision(
            f"AND d.decision = '{Decision.APPROVED}' AND d.kind <> '{ApproverKind.AGENT}' "
            f"AND {self._unexpired} AND {STANDS}"
        )

    @property
    def rejected(self) -> str:
        """The condition that the proposal was rejected, whatever policy there is."""
        return self._any_decision(f"AND d.decision = '{Decision.REJECTED}'")

    def _any_decision(self, condition: str = "") -> str:
        # For an EXISTS, PostgreSQL would read all decisions of the ledger into a hash where many proposals wait.
        found = f"SELECT 1 FROM action_approvals AS d WHERE d.proposal_id = {self.row}.id {condition}"
        return f"({found.strip()} LIMIT 1) IS NOT NULL"

    def lacks(self, scope: str, only: str = "") -> str:
        """Return the condition that a rule of the policy of a scope, of those that `only` selects, lacks approvals."""
        selected = f" AND {only}" if only else ""
        counting = f"FROM action_approvals AS d WHERE {self.counts}"
        return (
            f"EXISTS (SELECT 1 FROM approval_policies AS g WHERE g.in_force AND g.scope = {scope}{selected} "
            # One approval is the usual rule, and found without sorting names.
            f"AND (g.approvals = 1 AND NOT EXISTS (SELECT 1 {counting}) "
            f'OR g.approvals > 1 AND g.approvals > (SELECT count(DISTINCT d."by") {counting})))'
        )

    def waits(self, role: str) -> str:
        """Return the condition that the proposal waits for a person, in the capacity `role` unless that is NULL.

        Without a policy it waits until somebody validates it, and again once no approval stands any more; under one, as
        long as a rule lacks approvals.
        """
        of_role = f"({role} IS NULL OR g.role IN ('', {role}))"
        pending = status_in(PENDING).replace("status", f"{self.row}.status")
        undecided = f"{self.row}.status = '{INITIAL}'"
        return (
            f"(({pending}) AND NOT {self.rejected} AND NOT {KillSwitchConditions(self.row).start_blocked} "
            f"AND ({self.row}.valid_until IS NULL OR {self.row}.valid_until > {_CLOCK[self.dialect]}) "
            f"AND ({self.scope} IS NULL AND ({undecided} OR {self.decided} AND NOT {self.endorsed}) "
            f"OR {self.lacks(self.scope, of_role)}))"
        )

    @property
    def short(self) -> str:
        """The condition that the proposal may be neither validated nor started.

        Where no policy covers it, nothing is asked for until somebody has decided; then one approval must stand.
        """
        uncovered = f"{self.scope} IS NULL AND NOT {self.endorsed}"
        return f"({self.decided} AND ({self.rejected} OR {uncovered}) OR {ANY_POLICY} AND {self.lacks(self.scope)})"

    def used(self, scope: str) -> str:
        """Return the condition that a decision counts for a rule of the policy of a scope."""
        return f"EXISTS (SELECT 1 FROM approval_policies AS g WHERE g.in_force AND g.scope = {scope} AND {self.counts})"

    @property
    def is_own_approval(self) -> str:
        """The condition that no rule of the policy counts the new approval, because of whose it is."""
        rules = f"g.in_force AND g.scope = {self.scope} AND g.approvals > 0"
        excluded = (
            f"g.four_eyes <> '{FourEyes.NO}' AND NEW.\"by\" = {self.row}.proposed_by "
            f"OR g.four_eyes = '{FourEyes.PRINCIPAL}' AND NEW.\"by\" = {self.row}.on_behalf_of"
        )
        return (
            f"EXISTS (SELECT 1 FROM approval_policies AS g WHERE {rules}) "
            f"AND NOT EXISTS (SELECT 1 FROM approval_policies AS g WHERE {rules} AND ({excluded}) IS NOT TRUE)"
        )

    @property
    def longest(self) -> str:
        """The seconds for which the new approval can count, as a scalar query; NULL if nothing limits them."""
        return (
            "(SELECT CASE WHEN count(*) = count(g.expires_seconds) THEN max(g.expires_seconds) END "
            f"FROM approval_policies AS g WHERE g.in_force AND g.scope = {self.scope} "
            "AND (g.role = '' OR g.role = NEW.role))"
        )

    @property
    def is_decidable(self) -> str:
        """The condition that a decision about the proposal may be recorded now.

        It is pending; or it was cancelled just now in favour of the proposal that replaces it.
        """
        pending = status_in(PENDING).replace("status", f"{self.row}.status")
        return (
            f"(NEW.replaced_by IS NULL AND ({pending}) OR NEW.replaced_by IS NOT NULL "
            f"AND {self.row}.status = 'cancelled' AND {self.row}.status_by = NEW.\"by\" "
            f"AND {self.row}.status_reason = NEW.reason AND EXISTS (SELECT 1 FROM action_proposals AS n "
            f'WHERE n.id = NEW.replaced_by AND n.retry_of = {self.row}.id AND n.proposed_by = NEW."by"))'
        )


_NAMED = "action_name="
_BY = 'NEW."by"'


def policy_invalid(is_blank: Callable[[str], str]) -> str:
    """Return the condition that a rule is for another scope than everything or a name, or outside its limits."""
    first = len(_NAMED) + 1
    return (
        f"NOT (NEW.scope = '{EVERYTHING}' OR substr(NEW.scope, 1, {len(_NAMED)}) = '{_NAMED}' "
        f"AND length(NEW.scope) BETWEEN {first} AND {len(_NAMED) + MAX_NAME_CHARACTERS} "
        f"AND NOT {is_blank(f'substr(NEW.scope, {first})')}) "
        f"OR NEW.role <> '' AND ({is_blank('NEW.role')} OR NEW.approvals = 0) "
        f"OR {is_blank(_BY)} OR {is_blank('NEW.reason')} "
        f"OR NOT (NEW.expires_seconds > 0 AND NEW.expires_seconds <= {MAX_APPROVAL_SECONDS})"
    )


def decision_invalid(is_blank: Callable[[str], str]) -> str:
    """Return the condition that a decision names nobody, or no reason where it has to give one."""
    needs_reason = f"NEW.decision <> '{Decision.APPROVED}'"
    return f"{is_blank(_BY)} OR {needs_reason} AND {is_blank('NEW.reason')}"


REVOKES_NOTHING = (
    f"NEW.decision = '{Decision.REVOKED}' AND NOT EXISTS (SELECT 1 FROM action_approvals AS d WHERE d.id = NEW.revokes "
    f"AND d.proposal_id = NEW.proposal_id AND d.decision = '{Decision.APPROVED}' AND {STANDS})"
)
"""The condition that a revocation names no approval of its proposal that still stands."""


def later(dialect: str, at: str, seconds: str) -> str:
    """Return the SQL of a time some seconds after another."""
    return _LATER[dialect].format(at, seconds)


class lacks_approval(FunctionElement[bool]):  # noqa: N801 - reads like the SQL function that it is
    """The condition that the proposal of the row `row` may be neither validated nor started."""

    type = sa.Boolean()
    inherit_cache = True

    def __init__(self, row: str) -> None:
        super().__init__(sa.literal_column(row))


@compiles(lacks_approval)
def _lacks_approval(element: lacks_approval, compiler: SQLCompiler, **kw: Any) -> str:
    row = compiler.process(element.clauses, **kw)
    return ApprovalConditions(compiler.dialect.name, row).short


class must_be_passed_over(FunctionElement[bool]):  # noqa: N801 - the same
    """The condition that a claim passes over the proposal of `row`: it looks for approvals, and finds it short of them.

    PostgreSQL asks a function, because the long condition itself would be prepared anew at each claim.
    """

    type = sa.Boolean()
    inherit_cache = True

    def __init__(self, row: str, looks: sa.ColumnElement[bool]) -> None:
        super().__init__(sa.literal_column(row), looks)


@compiles(must_be_passed_over)
def _must_be_passed_over(element: must_be_passed_over, compiler: SQLCompiler, **kw: Any) -> str:
    row, looks = (compiler.process(clause, **kw) for clause in element.clauses)
    if compiler.dialect.name == "postgresql":
        columns = ", ".join(f"{row}.{name}" for name in ("id", "action_name", "proposed_by", "on_behalf_of"))
        return f"operator_core_lacks_approval({looks}, {columns})"
    return f"({looks} AND {ApprovalConditions(compiler.dialect.name, row).short})"


class waits_for_approval(FunctionElement[bool]):  # noqa: N801 - the same
    """The condition that the proposal of the row `row` waits for a person, in the capacity `role` unless it is NULL."""

    type = sa.Boolean()
    inherit_cache = True

    def __init__(self, row: str, role: sa.ColumnElement[str]) -> None:
        super().__init__(sa.literal_column(row), role)


@compiles(waits_for_approval)
def _waits_for_approval(element: waits_for_approval, compiler: SQLCompiler, **kw: Any) -> str:
    row, role = (compiler.process(clause, **kw) for clause in element.clauses)
    return ApprovalConditions(compiler.dialect.name, row).waits(role)
