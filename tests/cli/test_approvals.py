"""`operator-core pending`, `approve`, `reject`, `revoke`, `supersede`, `policy` and `show`: decisions by a person."""

import asyncio
import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from operator_core.actions import (
    ActionStatus,
    ApprovalRule,
    ApproverKind,
    FourEyes,
    NotApprovedError,
    StoredProposal,
)
from operator_core.db import ActionDB
from tests.cli.conftest import Run, run_command
from tests.support.factories import proposal, stored
from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE

REGISTRY = """
from pydantic import BaseModel
from operator_core.worker import ActionRegistry

class Drain(BaseModel):
    store: int

registry = ActionRegistry()
other = "no registry"

@registry.action("drain_store")
async def drain(parameters, execution): ...
""".replace("(parameters,", "(parameters: Drain,")

TWO = ApprovalRule(approvals=2)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Is the name of a registry whose module lies in the current folder."""
    name = f"acts_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(REGISTRY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return name


async def policy(db: ActionDB, *rules: ApprovalRule, scope: str = "everything") -> None:
    await db.set_approval_policy(scope, list(rules), by="ann", reason="a test")


async def status_of(db: ActionDB, made: StoredProposal) -> ActionStatus:
    found = await db.get_proposal(made.id)
    assert found is not None
    return found.status


def objects(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


OTHER_DIGEST = f"sha256:{64 * '0'}"


# -- pending -----------------------------------------------------------------------------------------------------------


async def test_where_nothing_waits_the_list_says_so(db: ActionDB, command: Run) -> None:
    plain, as_json = command("pending"), command("pending", "--json")

    assert (plain.code, plain.out) == (0, "nothing waits for an approval\n")
    assert (as_json.code, as_json.out) == (0, "")


async def test_what_waits_is_listed_newest_first_with_all_that_a_person_decides_about(
    db: ActionDB, command: Run
) -> None:
    await policy(db, TWO, ApprovalRule(role="security"))
    first = await stored(db, parameters={"store": 4}, on_behalf_of="carl")
    second = await stored(db, reason="store 5 is hot")
    await db.approve(first.id, by="ben")

    ran = command("pending")

    assert ran.code == 0
    assert ran.out.index(f"{second.id:>8}  proposed") < ran.out.index(f"{first.id:>8}  proposed")
    for shown in (
        '  parameters: {"store":4}\n',
        "  reason: store 5 is hot\n",
        "  on behalf of: carl\n",
        f"  digest: {first.digest}\n",
        "  approvals: 1 of 2, 0 of 1 as security (policy for everything, version 2)\n",
        "  approvals: 0 of 2, 0 of 1 as security (policy for everything, version 2)\n",
        "approved by ben, human",
    ):
        assert shown in ran.out


async def test_what_waits_is_one_object_a_line_in_json(db: ActionDB, command: Run) -> None:
    made = [await stored(db) for _ in range(2)]

    ran = command("pending", "--json")

    found = objects(ran.out)
    assert [one["proposal"]["id"] for one in found] == [made[1].id, made[0].id]
    assert [one["digest"] for one in found] == [made[1].digest, made[0].digest]
    assert found[0]["approval"]["decisions"] == []


async def test_the_list_is_paged_by_id(db: ActionDB, command: Run) -> None:
    made = [await stored(db) for _ in range(3)]

    pages = [
        command("pending", "--json", "--limit", "2"),
        command("pending", "--json", "--before-id", str(made[1].id)),
    ]

    assert [[one["proposal"]["id"] for one in objects(ran.out)] for ran in pages] == [
        [made[2].id, made[1].id],
        [made[0].id],
    ]


async def test_the_list_of_a_role_holds_what_it_would_bring_further(db: ActionDB, command: Run) -> None:
    await policy(db, ApprovalRule(role="security"))
    await policy(db, ApprovalRule(role="billing"), scope="action_name=pay")
    await stored(db, action_name="pay")
    drain = await stored(db)

    ran = command("pending", "--role", "security", "--json")

    assert [one["proposal"]["id"] for one in objects(ran.out)] == [drain.id]


async def test_an_approval_that_has_expired_is_marked(db: ActionDB, command: Run) -> None:
    await policy(db, ApprovalRule(expires_in=0.5))
    made = await stored(db)
    await db.approve(made.id, by="ben")
    async with asyncio.timeout(PATIENCE):
        while not (await db.approval_status(made.id)).lapsed:
            await asyncio.sleep(0.05)

    assert "  lapsed: 1\n" in command("pending").out


async def test_the_watched_list_is_printed_again_at_a_change_and_ends_with_130(db: ActionDB, ledger: Ledger) -> None:
    made = await stored(db)
    command = [sys.executable, "-m", "operator_core", "pending", "--watch", "--json", "--url", str(ledger.target)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: ASYNC220
    try:
        first = json.loads(await asyncio.to_thread(process.stdout.readline))
        later = await stored(db)
        await db.approve(made.id, by="ben")
        second = json.loads(await asyncio.to_thread(process.stdout.readline))
        process.send_signal(signal.SIGINT)
        _, err = await asyncio.to_thread(process.communicate, timeout=PATIENCE)
    finally:
        process.kill()
        process.communicate()

    assert (first["proposal"]["id"], second["proposal"]["id"]) == (made.id, later.id)
    assert (process.returncode, "Traceback" in err) == (130, False)


# -- approve -----------------------------------------------------------------------------------------------------------


async def test_an_approval_lets_the_proposal_run_and_says_so(db: ActionDB, command: Run) -> None:
    made = await stored(db)

    ran = command("approve", str(made.id), "--by", "ann", "--reason", "go on")

    (approval,) = (await db.approval_status(made.id)).decisions
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"APPROVED: proposal {made.id} (drain_store). It is validated\n")
    assert (approval.by, approval.reason, approval.kind) == ("ann", "go on", ApproverKind.HUMAN)
    assert await status_of(db, made) is ActionStatus.VALIDATED


async def test_an_approval_that_is_not_enough_says_what_is_missing(db: ActionDB, command: Run) -> None:
    await policy(db, TWO, ApprovalRule(role="security"))
    made = await stored(db)

    ran = command("approve", str(made.id), "--by", "ann")

    assert (ran.code, await status_of(db, made)) == (0, ActionStatus.PROPOSED)
    assert f"proposal {made.id} (drain_store). It needs more approvals: 1 of 2, 0 of 1 as security\n" in ran.out


async def test_every_option_of_an_approval_is_stored(db: ActionDB, command: Run) -> None:
    made = await stored(db)

    ran = command(
        "approve", str(made.id), "--by", "bot", "--kind", "agent", "--role", "sre", "--expires", "2h",
        "--digest", made.digest, "--json",
    )  # fmt: skip

    (approval,) = (await db.approval_status(made.id)).decisions
    assert (ran.json["id"], ran.json["approval_status"]["status"]) == (approval.id, "proposed")
    assert (approval.by, approval.kind, approval.role, approval.digest) == ("bot", "agent", "sre", made.digest)
    assert approval.expires_at is not None
    assert 7_190 < (approval.expires_at - approval.at).total_seconds() < 7_210


async def test_another_digest_is_refused_and_nothing_is_stored(db: ActionDB, command: Run) -> None:
    made = await stored(db)

    ran = command("approve", str(made.id), "--digest", OTHER_DIGEST)

    assert (ran.code, (await db.approval_status(made.id)).decisions) == (1, ())
    assert f"proposal {made.id} has the digest {made.digest}, and {OTHER_DIGEST} was approved" in ran.err


async def test_the_proposer_may_not_approve_where_four_eyes_are_asked_for(db: ActionDB, command: Run) -> None:
    await policy(db, ApprovalRule())
    made = await stored(db, proposed_by="ann")

    ran = command("approve", str(made.id), "--by", "ann", "--json")

    assert (ran.code, ran.json["error"]) == (1, "SelfApprovalError")
    assert "ann proposed it, and the policy asks for somebody else" in ran.err


async def test_a_second_approval_by_one_person_says_that_it_counts_once(db: ActionDB, command: Run) -> None:
    await policy(db, ApprovalRule(approvals=2))
    made = await stored(db)

    first, second = (command("approve", str(made.id), "--by", "ann") for _ in range(2))

    said = "  ann had approved it before: a person counts once\n"
    assert (said in first.out, said in second.out) == (False, True)


async def test_a_role_that_no_rule_asks_for_is_pointed_out(db: ActionDB, command: Run) -> None:
    await policy(db, ApprovalRule(approvals=2), ApprovalRule(role="security"))
    made = await stored(db)

    mistyped = command("approve", str(made.id), "--by", "ann", "--role", "securty")
    asked_for = command("approve", str(made.id), "--by", "ann", "--role", "security")

    assert "  no rule asks for the role securty: its rules ask for security\n" in mistyped.out
    assert "no rule asks" not in asked_for.out


async def test_what_was_cancelled_says_by_whom_and_why(db: ActionDB, command: Run) -> None:
    made = await stored(db)
    await db.reject(made.id, by="ben", reason="wrong store")

    ran = command("approve", str(made.id))

    assert "it is cancelled by ben (wrong store), and nothing is left to decide; propose it anew" in ran.err


async def test_what_has_ended_is_not_approved(db: ActionDB, command: Run) -> None:
    made = await stored(db, ActionStatus.COMPLETED)

    ran = command("approve", str(made.id))

    assert ran.code == 1
    assert "it is completed by a test, and nothing is left to decide" in ran.err


async def test_with_a_registry_what_does_not_fit_is_refused(db: ActionDB, command: Run, registry: str) -> None:
    misfit, sound = await stored(db, parameters={"store": "hot"}), await stored(db, parameters={"store": 4})

    refused = command("approve", str(misfit.id), "--registry", f"{registry}:registry")
    approved = command("approve", str(sound.id), "--registry", registry)

    assert (refused.code, approved.code) == (1, 0)
    assert "the parameters of drain_store do not fit: store: " in refused.err
    assert await status_of(db, misfit) is ActionStatus.PROPOSED


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing_module:registry", "missing_module:registry cannot be imported: No module named 'missing_module'"),
        ("{}:other", "is a str; an ActionRegistry is wanted"),
        ("{}:nothing", "has no attribute 'nothing'"),
    ],
)
async def test_a_registry_that_is_not_there_approves_nothing(
    db: ActionDB, command: Run, registry: str, name: str, message: str
) -> None:
    made = await stored(db)

    ran = command("approve", str(made.id), "--registry", name.format(registry))

    assert (ran.code, "Traceback" in ran.err) == (1, False)
    assert message in ran.err
    assert await status_of(db, made) is ActionStatus.PROPOSED


# -- reject, revoke ----------------------------------------------------------------------------------------------------


async def test_a_rejection_cancels_the_proposal(db: ActionDB, command: Run) -> None:
    made = await stored(db)

    ran = command("reject", str(made.id), "--by", "ann", "--reason", "not before the backup", "--role", "sre")

    rejected = await db.get_proposal(made.id)
    assert rejected is not None
    assert (ran.code, ran.out.splitlines()[0]) == (0, f"REJECTED: proposal {made.id} (drain_store). It is cancelled")
    assert (rejected.status, rejected.status_by, rejected.status_reason) == (
        "cancelled",
        "ann",
        "not before the backup",
    )


async def test_another_digest_is_not_rejected(db: ActionDB, command: Run) -> None:
    made = await stored(db)

    ran = command("reject", str(made.id), "--reason", "no", "--digest", OTHER_DIGEST, "--json")

    assert (ran.code, ran.json["error"]) == (1, "DigestMismatchError")
    assert await status_of(db, made) is ActionStatus.PROPOSED


async def test_a_revocation_keeps_the_proposal_from_starting(db: ActionDB, command: Run) -> None:
    await policy(db, ApprovalRule())
    made = await stored(db)
    approval = await db.approve(made.id, by="ann")

    ran = command("revoke", str(approval.id), "--by", "ben", "--reason", "wrong store")

    assert (ran.code, ran.out.splitlines()[0]) == (
        0,
        f"REVOKED: approval {approval.id} by ann, of proposal {made.id} (drain_store). It needs more approvals: 0 of 1",
    )
    with pytest.raises(NotApprovedError):
        await db.start_execution(made.id)


async def test_a_revocation_keeps_the_proposal_from_starting_where_no_policy_asks(db: ActionDB, command: Run) -> None:
    made = await stored(db)
    approval = await db.approve(made.id, by="ann")

    ran = command("revoke", str(approval.id), "--reason", "wrong store")

    revoked = f"REVOKED: approval {approval.id} by ann, of proposal {made.id} (drain_store)"
    assert f"{revoked}. It needs more approvals: 0 of 1\n" in ran.out
    assert f"{made.id}  validated" in command("pending").out


async def test_a_revocation_that_keeps_nothing_from_starting_says_why(db: ActionDB, command: Run) -> None:
    await policy(db, ApprovalRule())
    made = await stored(db)
    first = await db.approve(made.id, by="ann")
    second = await db.approve(made.id, by="ben")

    ran = command("revoke", str(first.id), "--reason", "wrong store")

    why = f"{second.id} by ben are enough"
    assert f"It may start all the same: {why}. To drop it: operator-core cancel {made.id}\n" in ran.out


async def test_what_cannot_be_revoked_says_why(db: ActionDB, command: Run) -> None:
    made = await stored(db)
    approval = await db.approve(made.id, by="ann")
    await db.start_execution(made.id)

    late, missing = command("revoke", str(approval.id), "--reason", "x"), command("revoke", "99", "--reason", "x")

    assert (late.code, missing.code) == (1, 1)
    assert "it runs already; `request_cancel` asks it to stop" in late.err
    assert "there is no approval 99: `approval_status`, or `operator-core show`, lists those" in missing.err


# -- supersede ---------------------------------------------------------------------------------------------------------


async def test_a_proposal_is_replaced_by_one_with_the_parameters_of_a_file(
    db: ActionDB, command: Run, tmp_path: Path
) -> None:
    made, file = await stored(db, parameters={"store": 4}, ticket_id=7), tmp_path / "new.json"
    file.write_text('{"store": 5}')

    ran = command("supersede", str(made.id), "--parameters", str(file), "--by", "ann", "--reason", "the other store")

    (new,) = await db.list_proposals(ActionStatus.PROPOSED)
    assert ran.code == 0
    assert ran.out.startswith(f"REPLACED: proposal {made.id} is rejected, and proposal {new.id} takes its place\n")
    assert '  parameters: {"store":5}\n' in ran.out
    assert (new.parameters, new.ticket_id, new.retry_of, new.proposed_by) == ({"store": 5}, 7, made.id, "ann")
    assert await status_of(db, made) is ActionStatus.CANCELLED


async def test_the_new_parameters_may_come_from_standard_input(
    db: ActionDB, command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await stored(db)
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"store": 5}'))

    ran = command("supersede", str(made.id), "--parameters", "-", "--reason", "x", "--json")

    assert (ran.code, ran.json["parameters"], ran.json["retry_of"]) == (0, {"store": 5}, made.id)


BAD_PARAMETERS = {
    "{": "is not a JSON object: Expecting property name",
    "": "is not a JSON object: Expecting value",
    "[1]": "parameters is a list; a JSON object",
    '{"a": NaN}': "parameters.a ",
    '{"a": "\\u0000"}': "parameters.a ",
    '{"a": 1, "a": 2}': "is not a JSON object: the key 'a' occurs twice",
    "[" * 100_000: "is not a JSON object: maximum recursion depth exceeded",
    '{"a": "' + "x" * 300_000 + '"}': "parameters ",
}


@pytest.mark.parametrize("text", BAD_PARAMETERS, ids=range(len(BAD_PARAMETERS)))
async def test_parameters_that_are_none_replace_nothing(db: ActionDB, command: Run, tmp_path: Path, text: str) -> None:
    made, file = await stored(db), tmp_path / "new.json"
    file.write_text(text)

    ran = command("supersede", str(made.id), "--parameters", str(file), "--reason", "x")

    assert (ran.code, "Traceback" in ran.err) == (1, False)
    assert BAD_PARAMETERS[text] in ran.err
    assert [one.id for one in await db.list_proposals()] == [made.id]


@pytest.mark.parametrize("name", ["nowhere.json", "."])
async def test_a_file_that_cannot_be_read_is_one_clear_line(
    db: ActionDB, command: Run, tmp_path: Path, name: str
) -> None:
    made = await stored(db)

    ran = command("supersede", str(made.id), "--parameters", str(tmp_path / name), "--reason", "x")

    assert ran.code == 1
    assert ran.err.startswith(f"operator-core: --parameters {tmp_path / name} cannot be read: ")
    assert ran.err.count("\n") == 1


async def test_bytes_that_are_no_text_are_one_clear_line(db: ActionDB, command: Run, tmp_path: Path) -> None:
    made, file = await stored(db), tmp_path / "new.json"
    file.write_bytes(b'{"a": "\xff"}')

    ran = command("supersede", str(made.id), "--parameters", str(file), "--reason", "x")

    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert "is not a JSON object: 'utf-8' codec can't decode" in ran.err


async def test_what_runs_is_not_replaced(db: ActionDB, command: Run, tmp_path: Path) -> None:
    made, file = await stored(db, ActionStatus.EXECUTING), tmp_path / "new.json"
    file.write_text("{}")

    ran = command("supersede", str(made.id), "--parameters", str(file), "--reason", "x", "--json")

    assert (ran.code, ran.json["error"]) == (1, "ApprovalRefusedError")
    assert len(await db.list_proposals()) == 1


# -- policies ----------------------------------------------------------------------------------------------------------


async def test_without_a_policy_the_list_says_what_holds(db: ActionDB, command: Run) -> None:
    plain, as_json = command("policy", "list"), command("policy", "list", "--json")

    assert plain.out == "no policy: a proposal may run after one approval, or after a check by a program\n"
    assert (plain.code, as_json.code, as_json.out) == (0, 0, "")


RULES: list[tuple[list[str], list[ApprovalRule], list[str]]] = [
    (["--approvals", "1"], [ApprovalRule()], ["1 person, not the proposer"]),
    (["--approvals", "2"], [TWO], ["2 different people, not the proposer"]),
    (["--approvals", "0"], [ApprovalRule(approvals=0)], ["nobody is asked"]),
    (["--role", "sre"], [ApprovalRule(role="sre")], ["1 person as sre, not the proposer"]),
    (
        ["--approvals", "2", "--role", "sre", "--role", "legal"],
        [TWO, ApprovalRule(role="legal"), ApprovalRule(role="sre")],
        [
            "2 different people, not the proposer",
            "1 person as legal, not the proposer",
            "1 person as sre, not the proposer",
        ],
    ),
    (
        ["--approvals", "1", "--four-eyes", "principal"],
        [ApprovalRule(four_eyes=FourEyes.PRINCIPAL)],
        ["1 person, neither the proposer nor the person it is for"],
    ),
    (["--approvals", "1", "--four-eyes", "no"], [ApprovalRule(four_eyes=FourEyes.NO)], ["1 person"]),
    (
        ["--approvals", "2", "--any-kind"],
        [ApprovalRule(approvals=2, humans_only=False)],
        ["2 different people or programs, not the proposer"],
    ),
    (
        ["--approvals", "1", "--expires", "8h"],
        [ApprovalRule(expires_in=8 * 3_600.0)],
        ["1 person, not the proposer, each for 28800 s"],
    ),
]


@pytest.mark.parametrize(("options", "rules", "lines"), RULES, ids=[" ".join(given) for given, _, _ in RULES])
async def test_a_policy_is_set_and_listed(
    db: ActionDB, command: Run, options: list[str], rules: list[ApprovalRule], lines: list[str]
) -> None:
    scope = "action_name=drain_store"

    ran = command("policy", "set", scope, *options, "--by", "ann", "--reason", "it moves data")

    (found,) = await db.approval_policies()
    listed = command("policy", "list")
    assert ran.code == 0
    assert (found.scope, found.by, found.reason, list(found.rules)) == (scope, "ann", "it moves data", rules)
    assert listed.out.splitlines()[1:] == [f"  {line}" for line in lines]
    assert listed.out.startswith(f"{scope}, version {len(rules)}, since ")
    assert ran.out == f"IN FORCE, also for what is validated already:\n{listed.out}"


async def test_a_policy_is_one_object_in_json(db: ActionDB, command: Run) -> None:
    ran = command("policy", "set", "everything", "--approvals", "2", "--reason", "x", "--json")

    assert (ran.json["scope"], ran.json["rules"][0]["approvals"]) == ("everything", 2)
    assert objects(command("policy", "list", "--json").out) == [ran.json]


async def test_a_policy_holds_for_what_is_validated_already(db: ActionDB, command: Run) -> None:
    made = await stored(db, ActionStatus.VALIDATED)

    command("policy", "set", "everything", "--approvals", "1", "--reason", "x")

    with pytest.raises(NotApprovedError):
        await db.start_execution(made.id)


async def test_a_policy_is_removed(db: ActionDB, command: Run) -> None:
    await policy(db, TWO, ApprovalRule(role="sre"))

    ran = command("policy", "set", "everything", "--remove", "--reason", "it is over")

    assert (ran.code, ran.out) == (0, "REMOVED: there is no policy for everything any more\n")
    assert await db.approval_policies() == []


async def test_a_policy_that_is_not_there_is_not_removed(db: ActionDB, command: Run) -> None:
    ran = command("policy", "set", "everything", "--remove", "--reason", "x")

    assert (ran.code, ran.err) == (1, "operator-core: scope is 'everything', which has no policy to remove\n")


NO_SCOPE = "is not the scope of a policy; write everything or action_name=NAME"
BAD_POLICIES = [
    (["everything"], "policy set needs --approvals N, --role ROLE or --remove"),
    (["everything", "--approvals", "100"], "100 is not a number from 0 to 99"),
    (["everything", "--approvals", "-1"], "-1"),
    (["everything", "--approvals", "9" * 5_000], "is not a number from 0 to 99"),
    (["everything", "--approvals", "many"], "many is not a number from 0 to 99"),
    (["everything", "--approvals", "0", "--role", "sre"], "--approvals is 0, which asks nobody; leave out --role"),
    (["everything", "--approvals", "1", "--expires", "0"], "'0' is not a duration; write 90, 15m, 8h or 2d"),
    (["everything", "--approvals", "1", "--expires", "2w"], "'2w' is not a duration"),
    (["everything", "--approvals", "1", "--expires", "nan"], "'nan' is not a duration"),
    (["everything", "--approvals", "1", "--expires", "400d"], "'400d' is not a duration"),
    (["everything", "--approvals", "1", "--four-eyes", "six"], "invalid choice: 'six'"),
    (["everything", "--role", ""], "role is empty; give a name"),
    (["everything", "--role", "x" * 256], "role "),
    (["everything", "--role", "a", "--role", "a"], "--role names 'a' twice; each role gives one approval"),
    (["everything", "--remove", "--approvals", "1"], "--remove removes the policy; leave out --approvals and --role"),
    (["everything", "--remove", "--role", "sre"], "--remove removes the policy; leave out --approvals and --role"),
    (["ticket_id=7", "--approvals", "1"], f"'ticket_id=7' {NO_SCOPE}"),
    (["action_type=tool", "--approvals", "1"], f"'action_type=tool' {NO_SCOPE}"),
    (["action_name=", "--approvals", "1"], f"'action_name=' {NO_SCOPE}"),
    (["", "--approvals", "1"], f"'' {NO_SCOPE}"),
]


@pytest.mark.parametrize(
    ("arguments", "message"), BAD_POLICIES, ids=[" ".join(given)[:60] for given, _ in BAD_POLICIES]
)
async def test_a_policy_that_makes_no_sense_is_refused_and_nothing_changes(
    db: ActionDB, command: Run, arguments: list[str], message: str
) -> None:
    ran = command("policy", "set", *arguments, "--reason", "x")

    assert (ran.code, "Traceback" in ran.err) == (1, False)
    assert message in ran.err
    assert await db.approval_policies() == []


# -- show --------------------------------------------------------------------------------------------------------------


async def test_a_proposal_is_shown_with_its_digest_its_approvals_and_what_is_missing(
    db: ActionDB, command: Run
) -> None:
    await policy(db, TWO)
    made = await stored(db)
    await db.approve(made.id, by="ann", role="sre", reason="go on")

    plain, as_json = command("show", str(made.id)), command("show", str(made.id), "--json")

    assert f"  digest: {made.digest}\n  approvals: 1 of 2 (policy for everything, version 1)\n" in plain.out
    assert "approved (1)              ann: go on as sre, human\n" in plain.out
    assert as_json.json["approval_status"]["needs"] == [{"role": None, "approvals": 2, "given": 1}]
    assert [event["kind"] for event in as_json.json["events"]] == ["step", "approved"]


async def test_every_decision_is_shown_once_in_its_place(db: ActionDB, command: Run) -> None:
    made = await stored(db)
    approval = await db.approve(made.id, by="ann")
    await db.revoke(approval.id, by="ben", reason="wrong store")
    await db.reject(made.id, by="ben", reason="never")

    lines = command("show", str(made.id)).out.splitlines()

    found = [line.split("UTC  ")[1].split("  ")[0] for line in lines if "UTC  " in line][1:]
    assert found == [
        "(new) -> proposed",
        "approved (1)",
        "proposed -> validated",
        "revoked (2) of 1",
        "rejected (3)",
        "validated -> cancelled",
    ]


async def test_the_start_is_shown_with_the_policy_and_the_approvals_that_it_used(db: ActionDB, command: Run) -> None:
    await policy(db, TWO, scope="action_name=drain_store")
    made = await stored(db)
    used = [(await db.approve(made.id, by=by)).id for by in ("ann", "ben")]
    await db.start_execution(made.id, by="w")

    ran = command("show", str(made.id))

    assert f"w by the policy for action_name=drain_store, version 1, with {used}\n" in ran.out


# -- what holds for all of them ----------------------------------------------------------------------------------------

COMMANDS = [
    ["pending"],
    ["approve", "1"],
    ["reject", "1", "--reason", "x"],
    ["revoke", "1", "--reason", "x"],
    ["supersede", "1", "--reason", "x", "--parameters", "-"],
    ["policy", "list"],
    ["policy", "set", "everything", "--approvals", "1", "--reason", "x"],
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: " ".join(arguments[:2]))
def test_no_command_creates_a_ledger(tmp_path: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("{}"))

    ran = run_command(*arguments, "--url", str(tmp_path / "ops.db"))

    assert ran.code == 1
    assert f"no ledger at {tmp_path / 'ops.db'}: there is no such file" in ran.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", ["approve", "reject", "supersede"])
async def test_a_proposal_that_is_not_there_is_one_clear_line(
    db: ActionDB, command: Run, verb: str, tmp_path: Path
) -> None:
    (tmp_path / "new.json").write_text("{}")
    more = {
        "approve": [],
        "reject": ["--reason", "x"],
        "supersede": ["--reason", "x", "--parameters", str(tmp_path / "new.json")],
    }

    ran = command(verb, "99", *more[verb])

    assert (ran.code, ran.err) == (1, "operator-core: there is no proposal 99\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["approve", "x"], "argument PROPOSAL: 'x' is not a number; the lists show them"),
        (["approve", "1", "--digest", "e0c3"], "digest is 'e0c3'; write all of what was shown: sha256: and 64 digits"),
        (["approve", "1", "--by", "ann "], "by is 'ann ', with blanks around it or characters that do not show"),
        (["reject", "1", "--reason", " "], "reason is empty; say why, for the history"),
        (["approve", "1", "--kind", "robot"], "invalid choice: 'robot' (choose from 'human', 'agent', 'system')"),
        (["approve", "1", "--expires", "soon"], "'soon' is not a duration; write 90, 15m, 8h or 2d"),
        (["approve", "9" * 30], "proposal_id does not fit a 64-bit integer column"),
        (["approve", "1", "--by", ""], "by is empty"),
        (["reject", "1"], "the following arguments are required: --reason"),
        (["revoke", "1"], "the following arguments are required: --reason"),
        (["supersede", "1", "--reason", "x"], "the following arguments are required: --parameters"),
        (["pending", "--limit", "0"], "0 is not a number from 1 to 10000"),
        (["pending", "--role", ""], "role is empty"),
    ],
    ids=lambda given: " ".join(given)[:40] if isinstance(given, list) else "",
)
async def test_what_is_mistyped_is_one_clear_message(
    db: ActionDB, command: Run, arguments: list[str], message: str
) -> None:
    ran = command(*arguments)

    assert (ran.code, "Traceback" in ran.err) == (1, False)
    assert message in ran.err


@pytest.mark.parametrize("arguments", [*COMMANDS, ["policy"]], ids=lambda arguments: " ".join(arguments[:2]))
def test_every_option_is_explained(arguments: list[str]) -> None:
    words = [word for word in arguments[: 1 + (arguments[0] == "policy")] if word != "1"]

    ran = run_command(*words, "--help")

    options = [line for line in ran.out.splitlines() if line.startswith(("  -", "  PROP"))]
    following = ran.out.splitlines()
    assert ran.code == 0
    assert options
    for line in options:
        explained = len(line.split("  ")) > 2 or following[following.index(line) + 1].startswith(" " * 20)
        assert explained, line


# -- hostile text ------------------------------------------------------------------------------------------------------

TURNED = "store\u202e4"


@pytest.mark.parametrize("verb", ["pending", "show", "supersede"])
async def test_parameters_are_shown_whole_and_their_hidden_characters_are_named(
    db: ActionDB, command: Run, verb: str, tmp_path: Path
) -> None:
    parameters = {TURNED: "x" * 50_000 + "\x1b[2J", "last": "\u200b"}
    made, file = await stored(db, parameters=parameters), tmp_path / "new.json"
    file.write_text(json.dumps(parameters))
    more = {"pending": [], "show": [str(made.id)]}
    more["supersede"] = [str(made.id), "--parameters", str(file), "--reason", "x"]

    ran = command(verb, *more[verb])

    (shown,) = [line for line in ran.out.splitlines() if line.startswith("  parameters: ")]
    (named,) = [line for line in ran.out.splitlines() if line.startswith("  CAREFUL")]
    assert shown.startswith('  parameters: {"store\\u202e4":"xxx')
    assert shown.endswith('","last":"\\u200b"}')
    assert shown.count("x") >= 50_000
    for name in ("U+202E RIGHT-TO-LEFT OVERRIDE", "U+200B ZERO WIDTH SPACE"):
        assert name in named
    assert "\u202e" not in ran.out
    assert "\x1b" not in ran.out


async def test_a_name_with_hidden_characters_is_named_too(db: ActionDB, command: Run) -> None:
    await db.create_proposal(proposal(action_name=TURNED))

    ran = command("pending")

    assert "do not show as themselves: U+202E RIGHT-TO-LEFT OVERRIDE\n" in ran.out


async def test_ordinary_text_of_any_language_is_no_reason_to_be_careful(db: ActionDB, command: Run) -> None:
    await stored(db, parameters={"name": "Zoë 🔥 متجر"})

    ran = command("pending")

    assert "CAREFUL" not in ran.out
    assert "Zoë 🔥 متجر" in ran.out
