"""Puts a host's own Alembic beside ours, in one database: a real project, run by its command line."""

import os
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from operator_core.actions import ActionStatus, GuardMissingError
from operator_core.db import ActionDB, migrate, upgrade
from operator_core.db.migrate.host import not_ours
from operator_core.db.schema import Base
from tests.migrations.support import ROOT, contents_of, create_from_models, fill, schema_of, within
from tests.support.factories import stored
from tests.support.ledger import Ledger

BESIDE = ("from operator_core.db.migrate.host import not_ours", "include_name=not_ours")
INSIDE = ("from operator_core.db.migrate.host import render_ours", "render_item=render_ours")
ENV = """
import sqlalchemy as sa
from alembic import context
from operator_core.db import metadata as ours
{imported}

host = sa.MetaData()
sa.Table("invoices", host, sa.Column("id", sa.Integer, primary_key=True), sa.Column("total", sa.Integer, index=True))
{prepared}
options = dict(target_metadata={target}, {option})
url = context.config.get_main_option("sqlalchemy.url")
if context.is_offline_mode():
    context.configure(url=url, literal_binds=True, **options)
    with context.begin_transaction():
        context.run_migrations()
else:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        context.configure(connection=connection, **options)
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()
"""


@dataclass
class Host:
    """A host's project: its folder, and the database that it shares with us."""

    folder: Path
    ledger: Ledger

    def configure(self, imported: str = "", option: str = "", target: str = "host", prepared: str = "") -> None:
        """Write the `env.py`."""
        text = ENV.format(imported=imported, option=option, target=target, prepared=prepared)
        (self.folder / "migrations" / "env.py").write_text(text)

    def alembic(self, *words: str) -> str:
        """Run the host's `alembic`, and return what it printed."""
        line = [sys.executable, "-m", "alembic", *words]
        paths = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": paths}
        done = subprocess.run(
            line, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=100
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def autogenerate(self) -> str:
        """Write a revision from what the models and the database say, and return its text."""
        before = set((self.folder / "migrations" / "versions").iterdir())
        self.alembic("revision", "--autogenerate", "-m", "generated")
        (made,) = {
            file for file in (self.folder / "migrations" / "versions").iterdir() if file.suffix == ".py"
        } - before
        return made.read_text()

    def revise(self, upgrade: str) -> None:
        """Write a revision by hand."""
        self.alembic("revision", "-m", "by hand", "--rev-id", "hand")
        (made,) = (self.folder / "migrations" / "versions").glob("hand_*.py")
        text = made.read_text().replace("import sqlalchemy as sa", f"import sqlalchemy as sa\n{upgrade}", 1)
        made.write_text(text.replace("    pass", "    install_guards(op)", 1))


@pytest.fixture
def host(empty: Ledger, tmp_path: Path) -> Host:
    """Is a host's project on an empty database."""
    folder = tmp_path / "host"
    (folder / "migrations" / "versions").mkdir(parents=True)
    url = make_url(f"sqlite:///{empty.target}" if empty.is_sqlite else str(empty.target))
    if not empty.is_sqlite:
        url = url.set(drivername="postgresql+psycopg")
    shown = url.render_as_string(hide_password=False).replace("%", "%%")
    (folder / "alembic.ini").write_text(
        f"[alembic]\nscript_location = %(here)s/migrations\npath_separator = os\nsqlalchemy.url = {shown}\n"
    )
    (folder / "migrations" / "script.py.mako").write_text((migrate.scripts() / "script.py.mako").read_text())
    return Host(folder, empty)


def named_in(text: str) -> set[str]:
    """Return which of our tables a text names."""
    return {name for name in (*Base.metadata.tables, migrate.VERSION_TABLE) if name in text}


# -- beside us ---------------------------------------------------------------------------------------------------------


async def test_a_host_and_we_leave_each_other_alone(host):
    upgrade(host.ledger.target)
    await fill(host.ledger)
    before = (schema_of(host.ledger), contents_of(host.ledger))
    host.configure(*BESIDE)

    generated = host.autogenerate()
    host.alembic("upgrade", "head")
    host.alembic("check")
    beside = contents_of(host.ledger)
    standing = migrate.report(host.ledger.target).standing
    host.alembic("downgrade", "base")

    after = {name: text for name, text in schema_of(host.ledger).items() if "alembic_version" not in name}
    assert (named_in(generated), "invoices" in generated) == (set(), True)
    assert standing is migrate.Standing.UP_TO_DATE
    assert {name: beside[name] for name in before[1]} == before[1]
    assert (after, {name: contents_of(host.ledger)[name] for name in before[1]}) == before


def test_a_host_that_does_not_say_so_would_drop_our_tables(host):
    upgrade(host.ledger.target)
    host.configure()

    assert set(Base.metadata.tables) < named_in(host.autogenerate())


def test_our_upgrade_leaves_the_revision_of_a_host_alone(host):
    host.configure(*BESIDE)
    host.autogenerate()
    host.alembic("upgrade", "head")
    before = contents_of(host.ledger)

    upgrade(host.ledger.target)

    after = contents_of(host.ledger)
    assert {name: after[name] for name in before if name != "sqlite_sequence"} == before
    assert host.alembic("current").strip().endswith("(head)")


def test_a_host_joins_our_filter_with_its_own(host):
    upgrade(host.ledger.target)
    with closing(host.ledger.connect()) as plain:
        plain.execute("CREATE TABLE attic (id INTEGER PRIMARY KEY)")
    host.configure(
        BESIDE[0],
        "include_name=lambda *found: not_ours(*found) and known(*found)",
        prepared='known = lambda name, kind, parents: kind != "table" or name != "attic"',
    )

    generated = host.autogenerate()

    assert (named_in(generated), "attic" in generated, "invoices" in generated) == (set(), False, True)


def test_a_host_that_looks_into_every_schema_leaves_our_tables_alone(host):
    upgrade(host.ledger.target)
    host.configure(BESIDE[0], f"{BESIDE[1]}, include_schemas=True")

    assert named_in(host.autogenerate()) == set()


@pytest.mark.parametrize("kind", ["index", "column", "unique_constraint", "foreign_key_constraint"])
def test_what_belongs_to_our_tables_is_ours(kind):
    found = {
        table: not_ours("id", kind, {"schema_name": None, "table_name": table}) for table in ("invoices", "kill_switch")
    }

    assert found == {"invoices": True, "kill_switch": False}


# -- in the host's own chain -------------------------------------------------------------------------------------------


@pytest.fixture
def chain(host: Host) -> Host:
    """Is a host that has our metadata in its own chain, as autogenerate writes it."""
    host.configure(*INSIDE, target="[host, ours]")
    generated = host.autogenerate()
    assert named_in(generated) == set(Base.metadata.tables)
    assert "operator_core" not in generated
    return host


def guard(host: Host) -> None:
    host.revise("from operator_core.db import install_guards")


async def test_tables_of_a_hosts_chain_are_refused_without_guards(chain):
    chain.alembic("upgrade", "head")

    with pytest.raises(GuardMissingError):
        async with ActionDB(chain.ledger.target):
            pytest.fail("opened")


async def test_a_hosts_chain_that_installs_the_guards_makes_a_ledger(chain, other_empty):
    await within(other_empty, create_from_models)
    guard(chain)

    chain.alembic("upgrade", "head")
    chain.alembic("check")

    made = {
        name: text for name, text in schema_of(chain.ledger).items() if "invoices" not in name and "alembic" not in name
    }
    async with ActionDB(chain.ledger.target) as db:
        await stored(db, ActionStatus.COMPLETED)
        assert await db.verify() == []
    assert made == schema_of(other_empty)


async def test_the_offline_script_of_a_hosts_chain_makes_a_ledger(chain, other_empty):
    guard(chain)
    script = chain.alembic("upgrade", "head", "--sql")

    with closing(other_empty.connect()) as plain:
        plain.executescript(script) if other_empty.is_sqlite else plain.execute(script)

    async with ActionDB(other_empty.target) as db:
        await stored(db, ActionStatus.COMPLETED)
        assert await db.verify() == []
