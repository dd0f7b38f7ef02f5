"""The comparison of a ledger on PostgreSQL with the result of this version's migrations.

The expected definitions were read from a migrated database into `postgresql_catalog.json`; the function bodies come
from the code. A host may add nullable columns, indexes that cannot refuse a row, foreign keys of proposals, and AFTER
triggers. Each problem is a text, which ends in the statement that repairs it, if there is one.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files

import sqlalchemy as sa

from operator_core.db.guards.postgresql import functions, other_functions
from operator_core.db.guards.postgresql_catalog import BODY, PREFIX, Definitions, read_guards, read_schema

CATALOG = "postgresql_catalog.json"
_NOT_VALID = " NOT VALID"

_Found = Mapping[tuple[str, str], str]


@cache
def expected() -> Definitions:
    """Return the definitions of a ledger that the migrations have made."""
    frozen = json.loads((files("operator_core.db.guards") / CATALOG).read_text(encoding="utf-8"))
    made: Definitions = {
        kind: {_key(name): definition for name, definition in definitions.items()}
        for kind, definitions in frozen.items()
    }
    bodies = {**functions(), **other_functions()}
    made[BODY] = {key: bodies[_plain(key[1])].body for key in made["function"]}
    return made


def frozen(definitions: Definitions) -> str:
    """Return the text of `postgresql_catalog.json` for the definitions of a migrated database."""
    kept = {
        kind: {".".join(key): definition for key, definition in found.items()}
        for kind, found in definitions.items()
        if kind != BODY
    }
    return json.dumps(kept, indent=1, sort_keys=True) + "\n"


def _key(name: str) -> tuple[str, str]:
    table, _, own = name.partition(".")
    return table, own


def _plain(signature: str) -> str:
    return signature.partition("(")[0]


def inspect_guards(connection: sa.Connection, *, exactly: bool) -> Iterator[str]:
    """Yield the problems of triggers and functions, and the faults that no table may have."""
    faults, found = read_guards(connection)
    yield from faults
    missing = {table for table, _ in expected()["table"].keys() - found["table"].keys()}
    yield from (f"the table {table} is missing" for table in sorted(missing))
    triggers = {key: definition for key, definition in expected()["trigger"].items() if key[0] not in missing}
    yield from _triggers(triggers, found["trigger"], exactly=exactly)
    if "kill_switch" not in missing:  # the functions are looked up in its schema
        yield from _functions(expected(), found, exactly=exactly)


def inspect_schema(connection: sa.Connection) -> Iterator[str]:
    """Yield the problems of columns, constraints, indexes and sequences of the existing tables."""
    found = read_schema(connection)
    there = {table for table, _ in found["column"]}
    wanted = {
        kind: {key: definition for key, definition in definitions.items() if key[0] in there}
        for kind, definitions in expected().items()
    }
    yield from _columns(wanted["column"], found["column"])
    yield from _constraints(wanted["constraint"], found["constraint"])
    backing = wanted["constraint"].keys() - found["constraint"].keys()
    yield from _indexes({key: i for key, i in wanted["index"].items() if key not in backing}, found["index"])
    yield from _sequences(wanted["sequence"], found["sequence"])


def _triggers(wanted: _Found, found: _Found, *, exactly: bool) -> Iterator[str]:
    for (table, name), definition in wanted.items():
        if (table, name) not in found:
            yield f"{name} is missing"
        elif exactly and found[table, name] != definition:
            yield f"{name} is altered: it is {found[table, name]}, not {definition}"
    for (table, name), definition in found.items():
        newer = not exactly and name.startswith(PREFIX)
        if (table, name) not in wanted and not newer and not definition.startswith("AFTER "):
            yield (
                f"the trigger {name} on {table} is not ours, and what runs before a row is written can swallow it "
                f"(AFTER triggers may stay): DROP TRIGGER {name} ON {table}"
            )


def _functions(wanted: Definitions, found: Definitions, *, exactly: bool) -> Iterator[str]:
    for key, definition in wanted["function"].items():
        name = _plain(key[1])
        if key not in found["function"]:
            yield f"function {name} is missing"
        elif exactly and found["function"][key] != definition:
            yield f"function {name} is altered: it is {found['function'][key]}, not {definition}"
        elif exactly and found[BODY][key] != wanted[BODY][key]:
            yield f"function {name} is altered: it has another body"
    if exactly:
        for _, signature in found["function"].keys() - wanted["function"].keys():
            yield f"function {signature} is not ours: DROP FUNCTION {signature}"


def _columns(wanted: _Found, found: _Found) -> Iterator[str]:
    for (table, name), definition in wanted.items():
        if (table, name) not in found:
            yield f"the column {table}.{name} is missing"
        elif found[table, name] != definition:
            yield f"the column {table}.{name} is altered: it is {found[table, name]}, not {definition}"
    for (table, name), definition in found.items():
        if (table, name) not in wanted and any(w in definition for w in ("NOT NULL", "DEFAULT", "GENERATED", "DOMAIN")):
            yield (
                f"the column {table}.{name} is not ours, and can refuse a row ({definition}): "
                f"ALTER TABLE {table} DROP COLUMN {name}"
            )


def _constraints(wanted: _Found, found: _Found) -> Iterator[str]:
    """Compare by definition: names may differ, and a constraint that a revision left unvalidated may be valid."""
    present = {(table, definition): name for (table, name), definition in found.items()}
    ours: set[tuple[str, str]] = set()
    for (table, name), definition in wanted.items():
        forms = {(table, definition), (table, definition.removesuffix(_NOT_VALID))} & present.keys()
        ours |= {(table, present[form]) for form in forms} or {(table, name)}
        if forms:
            continue
        altered = found.get((table, name))
        how = f"altered: it is {altered}, not {definition}" if altered else "missing"
        first = f"ALTER TABLE {table} DROP CONSTRAINT {name}, ADD" if altered else f"ALTER TABLE {table} ADD"
        yield f"the constraint {name} of {table} is {how}: {first} CONSTRAINT {name} {definition}"
    for (table, name), definition in found.items():
        allowed = table == "action_proposals" and definition.startswith("FOREIGN KEY")
        same = any(definition == other for (t, _), other in wanted.items() if t == table)
        if (table, name) not in ours and not allowed and not same:
            yield (
                f"the constraint {name} of {table} is not ours, and can refuse a row ({definition}): "
                f"ALTER TABLE {table} DROP CONSTRAINT {name}"
            )


def _indexes(wanted: _Found, found: _Found) -> Iterator[str]:
    """Compare by definition the indexes that can refuse a row: unique ones, and expressions, which can fail."""
    definitions = {(table, definition) for (table, _), definition in found.items()}
    for (table, name), definition in wanted.items():
        if definition.startswith("UNIQUE") and (table, definition) not in definitions:
            sql = definition.removeprefix("UNIQUE ")
            altered = found.get((table, name))
            how = f"altered: it is {altered}" if altered else "missing"
            yield f"the unique index {name} of {table} is {how}: CREATE UNIQUE INDEX {name} ON {table} USING {sql}"
    ours = {(table, definition) for (table, _), definition in wanted.items()}
    for (table, name), definition in found.items():
        sound = definition.removesuffix(" INVALID")  # as while an index is built
        plain = not sound.startswith("UNIQUE") and sound.count("(") == 1
        if (table, name) not in wanted and (table, sound) not in ours and not plain:
            yield f"the index {name} of {table} is not ours, and can refuse a row ({definition}): DROP INDEX {name}"


def _sequences(wanted: _Found, found: _Found) -> Iterator[str]:
    for (table, column), definition in wanted.items():
        if found.get((table, column)) != definition:
            yield (
                f"the sequence behind {table}.{column} is altered: "
                f"it is {found.get((table, column), 'missing')}, not {definition}"
            )
