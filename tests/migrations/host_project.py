"""A real Alembic project of a host, run by its command line, in one database with us."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import make_url

from operator_core.db import migrations
from operator_core.db.schema import Base
from tests.migrations.support import ROOT
from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE

BESIDE = (
    "from operator_core.db.migrations.autogenerate import exclude_operator_core",
    "include_name=exclude_operator_core",
)
INSIDE = (
    "from operator_core.db.migrations.autogenerate import render_operator_core",
    "render_item=render_operator_core",
)
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
            line, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE
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

    def revise(self, number: str, imported: str, upgrade: str, downgrade: str = "pass") -> None:
        """Write a revision by hand; each of its parts is one line."""
        self.alembic("revision", "-m", "by hand", "--rev-id", number)
        (made,) = (self.folder / "migrations" / "versions").glob(f"{number}_*.py")
        text = made.read_text().replace("import sqlalchemy as sa", f"import sqlalchemy as sa\n{imported}", 1)
        text = text.replace("    pass", f"    {upgrade}", 1).replace("    pass", f"    {downgrade}", 1)
        made.write_text(text)


def project(ledger: Ledger, folder: Path) -> Host:
    """Begin a host's project on a database."""
    (folder / "migrations" / "versions").mkdir(parents=True)
    url = make_url(f"sqlite:///{ledger.target}" if ledger.is_sqlite else str(ledger.target))
    if not ledger.is_sqlite:
        url = url.set(drivername="postgresql+psycopg")
    shown = url.render_as_string(hide_password=False).replace("%", "%%")
    (folder / "alembic.ini").write_text(
        f"[alembic]\nscript_location = %(here)s/migrations\npath_separator = os\nsqlalchemy.url = {shown}\n"
    )
    (folder / "migrations" / "script.py.mako").write_text((migrations.scripts() / "script.py.mako").read_text())
    return Host(folder, ledger)


def named_in(text: str) -> set[str]:
    """Return which of our tables a text names."""
    return {name for name in (*Base.metadata.tables, migrations.VERSION_TABLE) if name in text}
