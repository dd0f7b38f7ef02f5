"""`pending`, `approve`, `reject`, `revoke` and `supersede`: decisions by hand."""

import argparse
import asyncio
import errno
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from operator_core.actions import (
    ActionStatus,
    Approval,
    ApprovalStatus,
    ApproverKind,
    Decision,
    InvalidArgumentError,
    PendingApproval,
)
from operator_core.actions.approval_evaluation import standing_approvals
from operator_core.cli import output
from operator_core.cli.database import file_path, open_existing
from operator_core.cli.options import Commands, Parser, count, lasting, number
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
    if status.needs:
        needs = ", ".join(map(str, status.needs))
        by = "no policy covers it" if status.policy is None else f"policy for {status.policy}, version {status.version}"
        until = "" if status.until is None else f", until {output.format_time(status.until)}"
        lines.append(f"  approvals: {needs} ({by}){until}")
    elif status.status is ActionStatus.PROPOSED:
        lines.append("  approvals: one is enough, because no policy covers it")
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
        await _print_decision(db, approval, as_json=options.json)
    return 0


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
        await _print_decision(db, rejection, as_json=options.json)
    return 0


async def revoke(options: argparse.Namespace) -> int:
    """Revoke one approval."""
    async with open_existing(options.url) as db:
        revocation = await db.revoke(
            options.id, by=options.by, kind=options.kind, role=options.role, reason=options.reason
        )
        await _print_decision(db, revocation, as_json=options.json)
    return 0


async def _print_decision(db: ActionDB, decision: Approval, *, as_json: bool) -> None:
    status = await db.approval_status(decision.proposal_id)
    if as_json:
        output.print_json({**output.to_json(decision), "approval_status": output.to_json(status)})
        return
    proposal = await db.get_proposal(decision.proposal_id)
    name = "" if proposal is None else f" ({proposal.action_name})"
    revoked = "".join(f"approval {d.id} by {d.by}, of " for d in status.decisions if d.id == decision.revokes)
    output.print_text(
        f"{decision.decision.upper()}: {revoked}proposal {decision.proposal_id}{name}. {_outcome(decision, status)}",
        *_remarks(decision, status),
        *approval_lines(status),
    )


def _outcome(decision: Approval, status: ApprovalStatus) -> str:
    """Return what the decision means for the proposal."""
    if status.missing and status.rejected_by is None:
        return f"It needs more approvals: {', '.join(map(str, status.missing))}"
    if decision.decision is Decision.REVOKED and status.status is ActionStatus.VALIDATED:
        others = ", ".join(f"{d.id} by {d.by}" for d in standing_approvals(status.decisions))
        why = f"{others} are enough" if others else "its policy asks nobody"
        return f"It may start all the same: {why}. To drop it: operator-core cancel {status.proposal_id}"
    return f"It is {status.status}"


def _remarks(decision: Approval, status: ApprovalStatus) -> Iterator[str]:
    """Yield what the approver may not have meant."""
    if decision.decision is not Decision.APPROVED:
        return
    earlier = [d for d in standing_approvals(status.decisions) if d.id < decision.id]
    if any((d.by, d.role) == (decision.by, decision.role) for d in earlier):
        yield f"  {decision.by} had approved it before: a person counts once"
    roles = [need.role for need in status.needs if need.role is not None]
    if decision.role is not None and decision.role not in roles:
        asked = f"its rules ask for {', '.join(roles)}" if roles else "its rules ask for none"
        yield f"  no rule asks for the role {decision.role}: {asked}"


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
    where = "standard input" if str(file) == "-" else str(file)
    try:
        text = _read_stdin() if str(file) == "-" else file.read_text(encoding="utf-8")
        found: object = json.loads(text, object_pairs_hook=_without_duplicates)
    except OSError as error:
        raise InvalidArgumentError(path="--parameters", reason=f"{where} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentError(path="--parameters", reason=f"{where} is not a JSON object: {error}") from error
    return cast("dict[str, Any]", found)  # whatever it is: the call checks it


def _read_stdin() -> str:
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison] - so it is where it was closed
        raise OSError(errno.EBADF, "it is closed")
    return sys.stdin.read()


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; of a key that occurs twice nobody knows which value was meant."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!a} occurs twice")
    return found


_KINDS = [kind.value for kind in ApproverKind]


def add_commands(commands: "Commands[Parser]", common: Parser, actor: Parser) -> None:
    """Add the commands about approvals."""
    text = "list what waits for an approval, newest first"
    parser = commands.add_parser("pending", parents=[common], help=text, description=f"{text.capitalize()}.")
    parser.add_argument("--role", help="only what an approval in this role would bring further")
    parser.add_argument("--before-id", type=number, help="only proposals with a lower number: the next page")
    parser.add_argument("--limit", type=count, default=50, help="how many at most (default: 50)")
    parser.add_argument("--watch", action="store_true", help="list it again at every change, until Ctrl-C")
    parser.set_defaults(run=pending)

    actor = Parser(add_help=False, parents=[common, actor])
    decision = Parser(add_help=False, parents=[actor])
    decision.add_argument("--role", help="the role in which you decide, such as security")
    decision.add_argument(
        "--kind", choices=_KINDS, default=_KINDS[0], help="what decides; most policies count humans only (the default)"
    )
    seen = Parser(add_help=False)
    seen.add_argument("id", type=number, metavar="PROPOSAL", help="the number of the proposal")
    seen.add_argument("--digest", help="the digest that you were shown; if the proposal has another one, it is refused")
    _add_approve(commands, [decision, seen])

    text = "reject a proposal, which cancels it"
    parser = commands.add_parser("reject", parents=[decision, seen], help=text, description=f"{text.capitalize()}.")
    parser.add_argument("--reason", required=True, help="why; the proposer can read it")
    parser.set_defaults(run=reject)

    text = "take back an approval, before its proposal starts"
    parser = commands.add_parser("revoke", parents=[decision], help=text, description=f"{text.capitalize()}.")
    parser.add_argument(
        "id", type=number, metavar="APPROVAL", help="the number of the approval: `operator-core show PROPOSAL` lists it"
    )
    parser.add_argument("--reason", required=True, help="why")
    parser.set_defaults(run=revoke)

    text = "reject a proposal in favour of a new one with other parameters, which is then proposed in your name"
    parser = commands.add_parser("supersede", parents=[actor], help=text, description=f"{text.capitalize()}.")
    parser.add_argument("id", type=number, metavar="PROPOSAL", help="the number of the proposal")
    parser.add_argument(
        "--parameters", type=file_path, metavar="FILE", required=True, help="a JSON file; - reads standard input"
    )
    parser.add_argument("--reason", required=True, help="why")
    parser.set_defaults(run=supersede)


def _add_approve(commands: "Commands[Parser]", parents: list[Parser]) -> None:
    text = "approve a proposal"
    parser = commands.add_parser(
        "approve",
        parents=parents,
        help=text,
        description="Approve a proposal. It may run once its policy is satisfied.",
    )
    parser.add_argument("--reason", help="why, if there is more to say")
    parser.add_argument("--expires", type=lasting, metavar="TIME", help="how long it counts: 90 (s), 15m, 8h or 2d")
    parser.add_argument(
        "--registry",
        metavar="MODULE:registry",
        help="the registry of the actions: refuse what does not fit the model of its action",
    )
    parser.set_defaults(run=approve)
