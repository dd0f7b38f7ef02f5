"""What the documents say, held against the code: examples run, diagrams and tables are generated, names exist."""

import ast
import asyncio
import builtins
import re
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

import operator_core
from operator_core import actions, legacy, worker
from operator_core import testing as ledger_testing
from operator_core.actions import TRANSITIONS, ActionOutcome, ActionStatus, ConstraintError, EventKind
from operator_core.actions.lifecycle import (
    INITIAL,
    OUTCOMES,
    PENDING,
    STEP_PAIRS,
    TERMINAL,
    states_always_visited,
    states_possibly_visited,
)
from operator_core.actions.lifecycle import mermaid as drawn
from operator_core.db import ActionDB, metadata
from operator_core.db.migrations.revisions import REVISIONS
from tests.support.documents import (
    DEPLOY,
    DOCUMENTS,
    README,
    ROOT,
    blocks,
    compiled,
    executed,
    section,
    text_of,
)
from tests.support.factories import proposal
from tests.support.ledger import Ledger

LIFECYCLE, GUARANTEES, WORKERS = (ROOT / "docs" / name for name in ("lifecycle.md", "guarantees.md", "workers.md"))
DECISIONS = sorted((ROOT / "docs" / "adr").glob("*.md"))
ROOTS = (ROOT, ROOT / "src" / "operator_core")

every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())


def spans(document: Path) -> list[str]:
    """Return what stands between single backticks, outside of code blocks."""
    prose = re.sub(r"^```.*?^```$", "", text_of(document), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", prose)


def table(document: Path, heading: str) -> list[dict[str, str]]:
    """Return the rows of the first table under a heading, by the names of its columns."""
    lines = [line for line in section(document, heading).splitlines() if line.startswith("|")]
    names, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return [dict(zip(names, row, strict=True)) for row in rows]


# -- the README --------------------------------------------------------------------------------------------------------


async def test_the_example_of_the_readme_prints_what_the_readme_says(tmp_path):
    program = tmp_path / "example.py"
    program.write_text(blocks(README, "python")[0], encoding="utf-8")

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", program, cwd=tmp_path, stdout=-1, stderr=-1
    )
    out, err = await process.communicate()

    assert err.decode() == ""
    assert f"It prints `{out.decode().strip()}`." in text_of(README)
    assert (tmp_path / "ops.db").exists()


def test_the_example_of_the_readme_has_15_lines_at_most():
    lines = [line for line in blocks(README, "python")[0].splitlines() if line]

    assert len(lines) <= 15


async def test_the_other_blocks_of_the_readme_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with ActionDB(tmp_path / "ops.db") as db:
        await db.create_proposal(proposal(action_name="drain_store", parameters={"store": 4}))

    await executed(README, blocks(README, "python")[1:])

    async with ActionDB(tmp_path / "ops.db") as db:
        (done,) = await db.list_proposals()
    assert done.status is ActionStatus.COMPLETED


def test_the_readme_is_under_150_lines():
    assert len(text_of(README).splitlines()) < 150


def test_each_guarantee_at_a_glance_names_its_test():
    rows = table(GUARANTEES, "At a glance")

    assert rows
    assert [row["Guarantee"] for row in rows if not named_tests(row["Test"])] == []


def test_each_guarantee_at_a_glance_says_what_does_not_hold():
    assert [row["Guarantee"] for row in table(GUARANTEES, "At a glance") if not row["Does not hold"]] == []


# -- the lifecycle -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", [LIFECYCLE], ids=lambda path: path.name)
def test_the_diagram_is_the_generated_one(document):
    assert blocks(document, "mermaid") == [drawn() + "\n"]


def times_of(states: set[ActionStatus]) -> str:
    return ", ".join(f"`{state}_at`" for state in TRANSITIONS if state in states and state is not INITIAL)


def kind_of(status: ActionStatus) -> str:
    return "final" if status in TERMINAL else "pending" if status in PENDING else "running"


def test_the_table_of_states_is_the_one_in_the_code():
    rows = table(LIFECYCLE, "States")

    assert [(row["State"], row["Kind"], row["Set"], row["May be set"]) for row in rows] == [
        (
            f"`{s}`",
            kind_of(s),
            times_of(states_always_visited(s)),
            times_of(states_possibly_visited(s) - states_always_visited(s)),
        )
        for s in TRANSITIONS
    ]


def test_the_table_of_steps_is_the_one_in_the_code():
    rows = table(LIFECYCLE, "Steps")

    assert [(row["From"], row["To"], row["Record"]) for row in rows] == [
        (
            f"`{source}`",
            f"`{target}`",
            " or ".join(f"`{o}`" for o in OUTCOMES[target]) if source is ActionStatus.EXECUTING else "",
        )
        for source, target in STEP_PAIRS
    ]


def test_each_step_of_the_table_says_who_takes_it():
    assert [row for row in table(LIFECYCLE, "Steps") if not row["Who takes it"]] == []


def test_the_columns_of_a_record_are_those_of_the_table():
    named = [name for row in table(LIFECYCLE, "Record") for name in re.findall(r"`(\w+)`", row["Columns"])]

    assert sorted(["id", "proposal_id", *named]) == sorted(metadata.tables["action_records"].columns.keys())


def test_the_events_that_are_no_steps_are_those_in_the_code():
    rows = table(LIFECYCLE, "History")

    assert [row["`kind`"] for row in rows] == [f"`{kind}`" for kind in EventKind if kind is not EventKind.STEP]


async def test_the_blocks_of_the_lifecycle_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    namespace = await executed(LIFECYCLE, blocks(LIFECYCLE, "python"))

    assert [found.action_name for found in namespace["kept"]] == ["drain_store"]


async def test_a_ledger_made_from_metadata_as_documented_can_be_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    await executed(LIFECYCLE, blocks(LIFECYCLE, "python"))

    async with ActionDB(tmp_path / "own.db", migrate="check") as db:
        made = await db.create_proposal(proposal())

    assert made.id == 1


async def test_the_documented_filter_keeps_a_hosts_autogenerate_off_our_tables(sqlite_path):
    include_name = (await executed(DEPLOY, blocks(DEPLOY, "python")[:1]))["exclude_operator_core"]
    engine = sa.create_engine(f"sqlite:///{sqlite_path}")

    with engine.connect() as connection:
        filtered = MigrationContext.configure(connection, opts={"include_name": include_name})
        found = compare_metadata(filtered, sa.MetaData())

    engine.dispose()
    assert found == []


def foreign_keys() -> tuple[str, str]:
    """Return the statements that the document shows: for PostgreSQL, and for SQLite."""
    on_postgresql, on_sqlite = re.findall(
        r"```sql\n(.*?)```", section(LIFECYCLE, "A foreign key for `ticket_id`"), re.DOTALL
    )
    return on_postgresql, on_sqlite


@pytest.fixture
def with_tickets(ledger: Ledger) -> Ledger:
    """A ledger in the database of a host that keeps tickets, with number 7 among them."""
    on_postgresql, on_sqlite = foreign_keys()
    with closing(ledger.connect()) as connection:
        for statement in (
            "CREATE TABLE tickets (id BIGINT PRIMARY KEY)",
            "INSERT INTO tickets VALUES (7)",
            on_postgresql if isinstance(connection, psycopg.Connection) else on_sqlite,
        ):
            connection.execute(statement)
    return ledger


async def test_with_the_documented_foreign_key_a_known_ticket_is_accepted(with_tickets):
    async with ActionDB(with_tickets.target) as db:
        made = await db.create_proposal(proposal(ticket_id=7))

    assert made.ticket_id == 7


async def test_with_the_documented_foreign_key_an_unknown_ticket_is_refused(with_tickets):
    async with ActionDB(with_tickets.target) as db:
        with pytest.raises(ConstraintError):
            await db.create_proposal(proposal(ticket_id=8))


async def test_with_the_documented_foreign_key_a_proposal_needs_no_ticket(with_tickets):
    async with ActionDB(with_tickets.target) as db:
        made = await db.create_proposal(proposal())

    assert made.ticket_id is None


def test_the_foreign_key_takes_three_lines():
    assert [len(statement.splitlines()) for statement in foreign_keys()] == [3, 3]


# -- workers -----------------------------------------------------------------------------------------------------------


async def test_the_blocks_about_workers_do_what_is_said_of_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    told = SimpleNamespace(**await executed(WORKERS, blocks(WORKERS, "python")))
    async with ActionDB(tmp_path / "ops.db") as db:
        (claimed_next,) = await db.list_proposals(ActionStatus.COMPLETED, action_name="add_peer")

    assert told.done.status is ActionStatus.COMPLETED
    assert (told.refused.status, "store: Field required" in told.refused.status_reason) == (
        ActionStatus.CANCELLED,
        True,
    )
    assert claimed_next.reason == "region 9 has two peers"
    assert told.lost.outcome is ActionOutcome.UNKNOWN
    assert told.told[-2:] == [EventKind.REPORTED_LATE, EventKind.RESOLVED]
    assert told.again.retry_of == told.peer.id
    assert (told.second.id, told.second.repeated) == (told.first.id, True)


def test_what_goes_wrong_comes_with_what_is_shown_and_what_to_do():
    assert [row for row in table(WORKERS, "What goes wrong") if not all(row.values())] == []


# -- names in all documents --------------------------------------------------------------------------------------------


def named_tests(text: str) -> list[tuple[str, str]]:
    return re.findall(r"(tests/[\w/]+\.py)::(\w+)", text)


def existing_tests(file: str) -> set[str]:
    path = ROOT / file
    tree = ast.parse(text_of(path)) if path.exists() else ast.Module([], [])
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, functions) and node.name.startswith("test_")}


@every_document
def test_every_test_that_a_document_names_exists(document):
    named = named_tests(text_of(document))

    assert [f"{file}::{name}" for file, name in named if name not in existing_tests(file)] == []


def test_each_guarantee_in_the_document_names_its_test():
    headings = re.findall(r"^## (\d+\. .+)$", text_of(GUARANTEES), re.MULTILINE)

    assert headings
    assert [heading for heading in headings if not named_tests(section(GUARANTEES, heading))] == []


@every_document
def test_every_relative_link_resolves(document):
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text_of(document)) if "://" not in link]

    assert [link for link in links if not resolves(document, link)] == []


def resolves(document: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = document.parent / path if path else document
    return target.exists() and (not anchor or anchor in anchors(target))


def anchors(document: Path) -> Iterator[str]:
    """Yield the anchors that GitHub gives to headings."""
    for heading in re.findall(r"^#+ (.+)$", text_of(document), re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@every_document
def test_every_python_block_compiles(document):
    for block in blocks(document, "python"):
        assert compiled(block, document)


@every_document
def test_every_error_that_a_document_names_can_be_imported(document):
    named = {span for span in spans(document) if re.fullmatch(r"[A-Z]\w+Error", span)}

    public = {name for package in (actions, worker, legacy, ledger_testing, builtins) for name in dir(package)}
    assert named - public == set()


@every_document
def test_every_file_that_a_document_names_exists(document):
    named = [span for span in spans(document) if re.fullmatch(r"(src|tests|examples|db|actions)/[\w./-]*", span)]

    assert [span for span in named if not any((root / span).exists() for root in ROOTS)] == []


@every_document
def test_every_make_target_that_a_document_names_exists(document):
    targets = set(re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z]+)", text_of(document), re.MULTILINE))

    assert named - targets == set()


@every_document
def test_every_command_that_a_document_names_exists(document):
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src/operator_core/cli").glob("*.py"))
    commands = set(re.findall(r'add_parser\(\s*"([\w-]+)"', source))
    named = set(re.findall(r"(?:`|^)operator-core ([\w-]+)", text_of(document), re.MULTILINE))

    assert named - commands == set()


# -- decisions and changes ---------------------------------------------------------------------------------------------


def test_decisions_are_numbered_without_a_gap():
    assert [path.name[:4] for path in DECISIONS] == [f"{number:04d}" for number in range(1, len(DECISIONS) + 1)]


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_its_four_parts(decision):
    headings = re.findall(r"^## (.+)$", text_of(decision), re.MULTILINE)

    assert headings == ["Context", "Decision", "Consequences", "Alternatives"]


def test_the_changelog_begins_with_this_version():
    assert re.findall(r"^## (\S+)", text_of(ROOT / "CHANGELOG.md"), re.MULTILINE)[0] == operator_core.__version__


def test_the_changelog_says_which_release_brought_each_revision():
    lines = re.findall(r"^schema changed: (?:no|yes \((.+)\))$", text_of(ROOT / "CHANGELOG.md"), re.MULTILINE)

    assert sorted(", ".join(filter(None, lines)).split(", ")) == sorted(REVISIONS)
