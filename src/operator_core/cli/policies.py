"""`policy list` and `policy set`: the approvals that actions need."""

import argparse

from pydantic import ValidationError

from operator_core.actions import ActionError, ApprovalPolicy, ApprovalRule, FourEyes, InvalidArgumentError
from operator_core.actions.approvals import MAX_APPROVALS, check_policy_scope
from operator_core.actions.types import cause_of
from operator_core.cli import output
from operator_core.cli.database import open_existing
from operator_core.cli.options import Commands, Parser, lasting

_FOUR_EYES = [choice.value for choice in FourEyes]


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
        output.print_text("no policy: a proposal may run after one approval, or after a check by a program")
    return 0


def _policy_lines(policy: ApprovalPolicy) -> list[str]:
    since = f"since {output.format_time(policy.at)} by {policy.by}: {policy.reason}"
    head = f"{policy.scope}, version {policy.version}, {since}"
    return [head, *(f"  {_rule_text(rule)}" for rule in policy.rules)]


def _rule_text(rule: ApprovalRule) -> str:
    if not rule.approvals:
        return "nobody is asked"
    role = f" as {rule.role}" if rule.role else ""
    kind = ("person", "different people")[rule.approvals > 1]
    kind += "" if rule.humans_only else " or program" + "s" * (rule.approvals > 1)
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
        output.print_text(f"REMOVED: there is no policy for {policy.scope} any more")
    return 0


def _rules(options: argparse.Namespace) -> list[ApprovalRule]:
    if options.remove:
        if options.approvals is not None or options.role:
            raise InvalidArgumentError(path="--remove", reason="removes the policy; leave out --approvals and --role")
        return []
    for role in options.role:
        if options.role.count(role) > 1:
            raise InvalidArgumentError(path="--role", reason=f"names {role!a} twice; each role gives one approval")
    if options.approvals == 0 and options.role:
        raise InvalidArgumentError(path="--approvals", reason="is 0, which asks nobody; leave out --role")
    if options.approvals is None and not options.role:
        raise InvalidArgumentError(path="policy set", reason="needs --approvals N, --role ROLE or --remove")
    everybody = [] if options.approvals is None else [(options.approvals, None)]
    try:
        wanted = [*everybody, *((1, role) for role in options.role)]
        return [
            ApprovalRule(
                approvals=count,
                role=role,
                four_eyes=FourEyes(options.four_eyes),
                humans_only=not options.any_kind,
                expires_in=options.expires,
            )
            for count, role in wanted
        ]
    except ValidationError as error:
        raise cause_of(error) from error


def _approvals(text: str) -> int:
    if not text.isdecimal() or len(text) > len(str(MAX_APPROVALS)):
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to {MAX_APPROVALS}")
    return int(text)


def _policy_scope(text: str) -> str:
    try:
        return check_policy_scope(text)
    except ActionError as error:
        raise argparse.ArgumentTypeError(
            f"{text!a} is not the scope of a policy; write everything or action_name=NAME (nothing else that a "
            "proposal says of itself is taken, because its proposer chose it)"
        ) from error


def add_commands(commands: "Commands[Parser]", common: Parser, actor: Parser) -> None:
    """Add `policy list` and `policy set`."""
    actor = Parser(add_help=False, parents=[common, actor])
    text = "list or set the policies: the approvals that actions need"
    policy = commands.add_parser("policy", help=text, description=f"{text.capitalize()}.")
    tasks = policy.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    text = "list the policies in force"
    parser = tasks.add_parser("list", parents=[common], help=text, description=f"{text.capitalize()}.")
    parser.set_defaults(run=list_policies)
    parser = tasks.add_parser(
        "set",
        parents=[actor],
        help="set or remove the policy of a scope",
        description="Set or remove the policy of a scope. It also holds for what is approved, but has not started.",
    )
    parser.add_argument("scope", type=_policy_scope, help="everything, or action_name=NAME, which wins over everything")
    parser.add_argument(
        "--approvals", type=_approvals, metavar="N", help="how many different people must approve; 0 asks nobody"
    )
    parser.add_argument(
        "--role", action="append", default=[], help="at least one approval in this role; may be given several times"
    )
    parser.add_argument(
        "--four-eyes",
        choices=_FOUR_EYES,
        default=FourEyes.PROPOSER.value,
        help="whose approval does not count: nobody's (no), the proposer's (default), or also that of the person for "
        "whom it was proposed (principal)",
    )
    parser.add_argument("--any-kind", action="store_true", help="also count approvals by programs and agents")
    parser.add_argument(
        "--expires", type=lasting, metavar="TIME", help="how long an approval counts: 90 (s), 15m, 8h, 2d"
    )
    parser.add_argument("--remove", action="store_true", help="remove the policy of this scope")
    parser.add_argument("--reason", required=True, help="why; the history keeps it")
    parser.set_defaults(run=set_policy)
