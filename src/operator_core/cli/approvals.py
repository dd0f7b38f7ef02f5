"""`pending`, `approve`, `reject`, `revoke`, `supersede` and `policy`: decisions by hand."""

import argparse
import asyncio
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any, cast

from operator_core.actions import (
    Approval,
    ApprovalPolicy,
    ApprovalRule,
    ApprovalStatus,
    ApproverKind,
    FourEyes,
    InvalidArgumentError,
    PendingApproval,
)
from operator_core.actions.approvals import MAX_APPROVALS, check_policy_scope
from operator_core.cli import output
from operator_core.cli.database import file_path, open_existing
from operator_core.cli.options import Commands, Parser, count, lasting
from operator_core.cli.worker import load_registry
from operator_core.db import ActionDB

_LOOK_AGAIN_SECONDS = 0.5


async def pending(options: argparse.Namespace) -> int:
    """List the proposals that wait for a person, newest first; with `--watch`, again at every change."""
    async with open_existing(options.url) as db:
        found = await _list(db, options)
        _print_pending(found, as_json=options.json)
        while options.watch:
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
            before, found = found, await _list(db, options)
            if found != before:
                output.print_text(*[f"-- {len(found)} waiting"] * (not options.json))
                _print_pending(found, as_json=options.json)
    return 0


async def _list(db: ActionDB, options: argparse.Namespace) -> list[PendingApproval]:
    return await db.list_pending_approvals(options.role, before_id=options.before_id, limit=options.limit)


def _print_pending(found: list[PendingApproval], *, as_json: bool) -> None:
    for waiting in found:
        if as_json:
            output.print_json({**output.to_json(waiting), "digest": waiting.approval.digest})
        else:
            output.print_text(*output.proposal_lines(waiting.proposal), *approval_lines(waiting.approval))
    if not found and not as_json:
        output.print_text("nothing waits for an approval")


def approval_lines(status: ApprovalStatus, *, decisions: bool = True) -> list[str]:
    """Return where the approval of a proposal stands as text for a person."""
    lines = [f"  digest: {status.digest}"]
    if status.policy is not None:
        needs = ", ".join(map(str, status.needs))
        until = "" if status.until is None else f", until {output.format_time(status.until)}"
        lines.append(f"  approvals: {needs} (policy for {status.policy}, version {status.version}){until}")
    if status.lapsed:
        lines.append(f"  lapsed: {status.lapsed}")
    return [*lines, *map(_decision_line, status.decisions if decisions else ())]


def _decision_line(decision: Approval) -> str:
    role = f" as {decision.role}" if decision.role else ""
    login = f" (login {decision.login})" if decision.login else ""
    until = "" if decision.expires_at is None else f" until {output.format_time(decision.expires_at)}"
    what = f"{decision.decision} {decision.revokes}" if decision.revokes else str(decision.decision)
    why = "" if decision.reason is None else f": {decision.reason}"
    replaced = f"; replaced by proposal {decision.replaced_by}" if decision.replaced_by else ""
    return (
        f"  {output.format_time(decision.at)}  decision {decision.id}: {what} by {decision.by}{role}, "
        f"{decision.kind}{login}{until}{why}{replaced}"
    )


async def approve(options: argparse.Namespace) -> int:
    """Approve one proposal."""
    registry = None if options.registry is None else load_registry(options.registry)
    async with open_existing(options.url) as db:
        approval = await db.approve(
            options.id,
            by=options.by,
            kind=options.kind,
            role=options.role,
            reason=options.reason,
            digest=options.digest,
            expires_in=options.expires,
            registry=registry,
        )
        status = await db.approval_status(options.id)
    return _decided(approval, status, as_json=options.json)


async def reject(options: argparse.Namespace) -> int:
    """Reject one proposal."""
    async with open_existing(options.url) as db:
        rejection = await db.reject(
            options.id,
            by=options.by,
            kind=options.kind,
            role=options.role,
            reason=options.reason,
            digest=options.digest,
        )
        status = await db.approval_status(options.id)
    return _decided(rejection, status, as_json=options.json)


async def revoke(options: argparse.Namespace) -> int:
    """Revoke one approval."""
    async with open_existing(options.url) as db:
        revocation = await db.revoke(
            options.id, by=options.by, kind=options.kind, role=options.role, reason=options.reason
        )
        status = await db.approval_status(revocation.proposal_id)
    return _decided(revocation, status, as_json=options.json)


def _decided(decision: Approval, status: ApprovalStatus, *, as_json: bool) -> int:
    if as_json:
        output.print_json({**output.to_json(decision), "approval_status": output.to_json(status)})
        return 0
    missing = ", ".join(map(str, status.missing))
    further = f"It still needs more: {missing}" if missing and status.rejected_by is None else f"It is {status.status}"
    output.print_text(
        f"{decision.decision.upper()}: proposal {decision.proposal_id}. {further}", *approval_lines(status)
    )
    return 0


async def supersede(options: argparse.Namespace) -> int:
    """Reject one proposal in favour of one with other parameters."""
    parameters = await asyncio.to_thread(_parameters, options.parameters)
    async with open_existing(options.url) as db:
        new = await db.supersede(options.id, parameters=parameters, by=options.by, reason=options.reason)
    if options.json:
        output.print_json(output.to_json(new))
    else:
        output.print_text(f"REPLACED: proposal {options.id} is rejected, and proposal {new.id} takes its place")
        output.print_text(*output.proposal_lines(new))
    return 0


def _parameters(file: Path) -> dict[str, Any]:
    """Read the new parameters from a file, or from standard input for `-`."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        found: object = json.loads(text)
    except (OSError, ValueError) as error:
        raise InvalidArgumentError(path="--parameters", reason=f"{file} cannot be read as JSON: {error}") from error
    return cast("dict[str, Any]", found)  # whatever it is: the call checks it


async def list_policies(options: argparse.Namespace) -> int:
    """List the policies in force."""
    async with open_existing(options.url) as db:
        found = await db.approval_policies()
    for policy in found:
        if options.json:
            output.print_json(output.to_json(policy))
        else:
            output.print_text(*_policy_lines(policy))
    if not found and not options.json:
        output.print_text("no policy: a proposal runs once somebody has validated it")
    return 0


def _policy_lines(policy: ApprovalPolicy) -> list[str]:
    since = f"since {output.format_time(policy.at)} by {policy.by}: {policy.reason}"
    head = f"{policy.scope}, version {policy.version}, {since}"
    return [head, *(f"  {_rule_text(rule)}" for rule in policy.rules)]


def _rule_text(rule: ApprovalRule) -> str:
    if not rule.approvals:
        return "nobody is asked"
    role = f" as {rule.role}" if rule.role else ""
    kind = "people" if rule.humans_only else "people or programs"
    others = {FourEyes.NO: "", FourEyes.PROPOSER: ", not the proposer"}.get(
        rule.four_eyes, ", neither the proposer nor the person it is for"
    )
    until = "" if rule.expires_in is None else f", each for {rule.expires_in:g} s"
    return f"{rule.approvals} {kind}{role}{others}{until}"


async def set_policy(options: argparse.Namespace) -> int:
    """Set the policy of a scope, or take it away."""
    rules = _rules(options)
    async with open_existing(options.url) as db:
        policy = await db.set_approval_policy(options.scope, rules, by=options.by, reason=options.reason)
    if options.json:
        output.print_json(output.to_json(policy))
    elif policy.rules:
        output.print_text("IN FORCE, also for what is validated already:", *_policy_lines(policy))
    else:
        output.print_text(f"TAKEN AWAY: there is no policy for {policy.scope} any more")
    return 0


def _rules(options: argparse.Namespace) -> list[ApprovalRule]:
    if options.remove:
        if options.approvals is not None or options.role:
            raise InvalidArgumentError(
                path="--remove", reason="takes the policy away; give no --approvals and no --role"
            )
        return []
    if options.approvals is None and not options.role:
        raise InvalidArgumentError(path="policy set", reason="needs --approvals N, --role ROLE or --remove")
    rule = partial(
        ApprovalRule, four_eyes=options.four_eyes, humans_only=not options.any_kind, expires_in=options.expires
    )
    everybody = [] if options.approvals is None else [rule(approvals=options.approvals)]
    return [*everybody, *(rule(approvals=1, role=role) for role in options.role)]


def _approvals(text: str) -> int:
    if not text.isdecimal() or int(text) > MAX_APPROVALS:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to {MAX_APPROVALS}")
    return int(text)


def _policy_scope(text: str) -> str:
    try:
        return check_policy_scope(text)
    except InvalidArgumentError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_commands(commands: "Commands[Parser]", common: Parser, actor: Parser) -> None:
    """Add the commands about approvals."""
    parser = commands.add_parser("pending", parents=[common], help="list what waits for an approval, newest first")
    parser.add_argument("--role", help="only what an approval in this capacity brings further")
    parser.add_argument("--before-id", type=int, help="only those with a lower id: the next page")
    parser.add_argument("--limit", type=count, default=50, help="how many at most (default: 50)")
    parser.add_argument("--watch", action="store_true", help="go on listing it at every change")
    parser.set_defaults(run=pending)

    decision = Parser(add_help=False, parents=[common, actor])
    decision.add_argument("--role", help="the capacity in which it is decided, such as security")
    decision.add_argument("--kind", type=ApproverKind, choices=list(ApproverKind), default=ApproverKind.HUMAN)
    parser = commands.add_parser("approve", parents=[decision], help="approve one proposal")
    parser.add_argument("id", type=int, help="the proposal")
    parser.add_argument("--reason", help="why, if there is more to say")
    parser.add_argument("--digest", help="the digest that was shown: anything else is refused")
    parser.add_argument("--expires", type=lasting, help="how long it counts: 90, 15m, 8h or 2d")
    parser.add_argument(
        "--registry", metavar="MODULE:registry", help="refuse what does not fit the model of its action"
    )
    parser.set_defaults(run=approve)
    parser = commands.add_parser("reject", parents=[decision], help="reject one proposal, which cancels it")
    parser.add_argument("id", type=int, help="the proposal")
    parser.add_argument("--reason", required=True, help="why; the agent reads it")
    parser.add_argument("--digest", help="the digest that was shown: anything else is refused")
    parser.set_defaults(run=reject)
    parser = commands.add_parser("revoke", parents=[decision], help="take back one approval, before the start")
    parser.add_argument("id", type=int, help="the approval, as `show` names it")
    parser.add_argument("--reason", required=True, help="why")
    parser.set_defaults(run=revoke)
    parser = commands.add_parser("supersede", parents=[common, actor], help="replace one proposal by an edited one")
    parser.add_argument("id", type=int, help="the proposal")
    parser.add_argument(
        "--parameters", type=file_path, required=True, help="a file with the new parameters; - for stdin"
    )
    parser.add_argument("--reason", required=True, help="why")
    parser.set_defaults(run=supersede)
    _add_policy(commands.add_parser("policy", help="who has to approve what"), common, actor)


def _add_policy(policy: Parser, common: Parser, actor: Parser) -> None:
    tasks = policy.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    parser = tasks.add_parser("list", parents=[common], help="list the policies in force")
    parser.set_defaults(run=list_policies)
    parser = tasks.add_parser("set", parents=[common, actor], help="set the policy of a scope")
    parser.add_argument("scope", type=_policy_scope, help="everything, or action_name=NAME")
    parser.add_argument("--approvals", type=_approvals, help="how many different people; 0 asks nobody")
    parser.add_argument("--role", action="append", default=[], help="one of them in this capacity; may be repeated")
    parser.add_argument("--four-eyes", type=FourEyes, choices=list(FourEyes), default=FourEyes.PROPOSER)
    parser.add_argument("--any-kind", action="store_true", help="count approvals by programs too")
    parser.add_argument("--expires", type=lasting, help="how long each approval counts: 90, 15m, 8h or 2d")
    parser.add_argument("--remove", action="store_true", help="take the policy away")
    parser.add_argument("--reason", required=True, help="why; the history keeps it")
    parser.set_defaults(run=set_policy)
