"""A server as a host has it for its tests: reached by a role that is no superuser, and leaving nothing behind."""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import sql

from tests.support.postgres import PrivatePostgres

PASSWORD = "hush-hush"  # noqa: S105 - of a role that lives for one test


@dataclass(frozen=True)
class Role:
    """A role of a server, which may create databases or not."""

    name: str
    postgres: PrivatePostgres

    def url(self, database: str = "postgres", password: str = PASSWORD) -> str:
        return self.postgres.url(database, user=self.name, password=password)

    def execute(self, statement: str) -> list[tuple]:
        """Run a statement as the superuser."""
        with psycopg.connect(self.postgres.dsn(), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def databases(self) -> list[str]:
        """Return the databases that the role owns."""
        query = f"SELECT datname FROM pg_database WHERE datdba = '{self.name}'::regrole ORDER BY datname"
        return [name for (name,) in self.execute(query)]

    def templates(self) -> list[str]:
        """Return the templates that the role owns, whole or not."""
        return [name for name in self.databases() if name.startswith("operator_core_template_")]


@pytest.fixture
def make_role(postgres: PrivatePostgres) -> Iterator[Callable[[str], Role]]:
    """Give a function that makes a role with options."""
    roles: list[Role] = []

    def make(options: str) -> Role:
        role = Role(f"tester_{secrets.token_hex(6)}", postgres)
        role.execute(f"CREATE ROLE {role.name} LOGIN PASSWORD '{PASSWORD}' {options}")
        roles.append(role)
        return role

    yield make
    for role in roles:
        for name in role.databases():
            role.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)).as_string())
        role.execute(f"DROP ROLE {role.name}")


@pytest.fixture
def role(make_role: Callable[[str], Role]) -> Role:
    """A role that may create databases, and has made no template yet."""
    return make_role("CREATEDB")
