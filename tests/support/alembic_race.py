"""A host's Alembic in one thread, ours in another, in one process: whose tables land where.

Run as a program: HOW (`ours`, or `proxies` for the control, which runs our scripts as Alembic's own command does), then
for each round the URL of the host's database and that of the ledger. It prints one line a round: what went wrong.
"""

import sys
import tempfile
import threading
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.engine import make_url

from operator_core.db import metadata, migrations, upgrade
from operator_core.db.engine.urls import resolve_url

TABLES = {f"host_{number}" for number in range(30)}
ENV = """
import sqlalchemy as sa
from alembic import context
engine = sa.create_engine(context.config.get_main_option("sqlalchemy.url"))
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
"""
REVISION = f"""
import sqlalchemy as sa
from alembic import op
revision, down_revision = "host", None
def upgrade():
    for name in {sorted(TABLES)}:
        op.create_table(name, sa.Column("id", sa.Integer(), primary_key=True))
"""


def host_config(folder: Path) -> Config:
    """Write a host's Alembic project, and return its configuration without a database."""
    (folder / "versions").mkdir()
    (folder / "env.py").write_text(ENV)
    (folder / "versions" / "host.py").write_text(REVISION)
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    return config


def config_of(target: Path | str) -> Config:
    """Return what Alembic's command line makes of our scripts and a database."""
    url = resolve_url(target).render_as_string(hide_password=False)
    config = Config(cmd_opts=Namespace(x=[f"url={url}"]))
    config.set_main_option("script_location", str(migrations.scripts()))
    config.set_main_option("path_separator", "os")
    return config


def upgrade_by_proxies(target: str) -> None:
    """Upgrade a ledger as Alembic's own command does, through the globals of its process."""
    command.upgrade(config_of(target), "head")


def tables_of(url: str) -> set[str]:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        found = set(sa.inspect(connection).get_table_names())
    engine.dispose()
    return found


def blocking(url: str) -> str:
    """Return the URL of a database for a host without an event loop."""
    parsed = make_url(url)
    driver = "sqlite" if parsed.get_backend_name() == "sqlite" else "postgresql+psycopg"
    return parsed.set(drivername=driver).render_as_string(hide_password=False)


def meet(config: Config, ours: Callable[[str], None], host_url: str, ledger_url: str) -> list[str]:
    """Run both migrations in the same moment, and return what went wrong."""
    problems: list[str] = []
    start = threading.Barrier(2)
    config.set_main_option("sqlalchemy.url", blocking(host_url).replace("%", "%%"))

    def run(name: str, act: Callable[[], object]) -> None:
        start.wait()
        try:
            act()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what the race finds
            problems.append(f"{name}: {type(error).__name__}")

    both = [
        threading.Thread(target=run, args=("host", lambda: command.upgrade(config, "head"))),
        threading.Thread(target=run, args=("ledger", lambda: ours(ledger_url))),
    ]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    in_host, in_ledger = tables_of(blocking(host_url)), tables_of(blocking(ledger_url))
    if in_host != {*TABLES, "alembic_version"}:
        problems.append(f"host's database: {len(in_host & TABLES)} of its tables, {len(in_host - TABLES)} others")
    if in_ledger != {*metadata.tables, migrations.VERSION_TABLE}:
        problems.append(f"the ledger's database: {len(in_ledger & TABLES)} tables of the host, {len(in_ledger)} in all")
    return problems


def main() -> None:
    how, *urls = sys.argv[1:]
    ours = {"ours": upgrade, "proxies": upgrade_by_proxies}[how]
    with tempfile.TemporaryDirectory() as folder:
        config = host_config(Path(folder))
        for host_url, ledger_url in zip(urls[::2], urls[1::2], strict=True):
            print("; ".join(meet(config, ours, host_url, ledger_url)), flush=True)


if __name__ == "__main__":
    main()
