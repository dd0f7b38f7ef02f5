"""What somebody may alter in a SQLite file that a promise rests on: how, how it is undone, and what names it."""

from tests.migrations.altered_postgresql import VIEW


def rewritten(table: str, before: str, after: str) -> tuple[str, str]:
    """Return the statements that change the text of a table of SQLite, and back."""
    quoted = [text.replace("'", "''") for text in (before, after)]
    there, back = (
        "PRAGMA writable_schema = ON; "
        f"UPDATE sqlite_master SET sql = replace(sql, '{one}', '{other}') WHERE name = '{table}'; "
        "PRAGMA writable_schema = RESET"
        for one, other in (quoted, quoted[::-1])
    )
    return there, back


def ignoring(table: str, raising: str = "RAISE(IGNORE)") -> str:
    return f"CREATE TRIGGER host BEFORE INSERT ON {table} BEGIN SELECT {raising}; END"


ON_SQLITE = {
    "a trigger that swallows events": (ignoring("action_events"), "DROP TRIGGER host", "the trigger host on action_ev"),
    "a trigger that swallows stops": (ignoring("kill_switch_events"), "DROP TRIGGER host", "the trigger host on kill"),
    "a trigger that is hard to read": (
        ignoring('"KILL_switch"', "raise /* x */ ( -- y\n Ignore)"),
        "DROP TRIGGER host",
        "can swallow a row by RAISE(IGNORE)",
    ),
    "a trigger that keeps half of a step": (
        "CREATE TRIGGER host AFTER UPDATE ON action_proposals BEGIN SELECT RAISE(FAIL, 'no'); END",
        "DROP TRIGGER host",
        "RAISE(FAIL)",
    ),
    "a trigger that rolls all back": (
        "CREATE TRIGGER host AFTER UPDATE ON action_records BEGIN SELECT RAISE(ROLLBACK, 'no'); END",
        "DROP TRIGGER host",
        "RAISE(ROLLBACK)",
    ),
    "a view in its place": (
        VIEW[0],
        VIEW[1],
        "kill_switch is a view",
    ),
    "a table that is gone": (
        "ALTER TABLE action_prunes RENAME TO other",
        "ALTER TABLE other RENAME TO action_prunes",
        "the table action_prunes is missing",
    ),
    "a check that is gone": (
        *rewritten("kill_switch_events", "CHECK (change IN ('engaged', 'released'))", "CHECK (true)"),
        "the constraint ck_kill_switch_events_change of kill_switch_events is altered",
    ),
    "a unique constraint that is gone": (
        (
            "CREATE TABLE other AS SELECT * FROM kill_switch_events; ALTER TABLE kill_switch_events RENAME TO mine; "
            "ALTER TABLE other RENAME TO kill_switch_events"
        ),
        "DROP TABLE kill_switch_events; ALTER TABLE mine RENAME TO kill_switch_events",
        "the constraint uq_kill_switch_events_generation_change of kill_switch_events is missing",
    ),
    "a column that may be empty": (
        *rewritten("action_prunes", "at DATETIME NOT NULL", "at DATETIME"),
        "the column action_prunes.at is altered",
    ),
    "a column without its default": (
        *rewritten("action_prunes", "BOOLEAN DEFAULT 1 NOT NULL", "BOOLEAN NOT NULL"),
        "the column action_prunes.keep_events is altered",
    ),
    "a column that can refuse a row": (
        "ALTER TABLE kill_switch ADD host TEXT CHECK (host IS NULL)",
        "ALTER TABLE kill_switch DROP host",
        "the column kill_switch.host is not ours",
    ),
    "ids that come again": (
        *rewritten("action_events", "PRIMARY KEY AUTOINCREMENT", "PRIMARY KEY"),
        "the column action_events.id is altered",
    ),
    "a unique index that is gone": (
        "DROP INDEX uq_action_records_worker",
        "CREATE UNIQUE INDEX uq_action_records_worker ON action_records (worker, claim_key) WHERE outcome IS NULL",
        "the unique index uq_action_records_worker of action_records is missing",
    ),
    "an index that covers less": (
        (
            "DROP INDEX uq_action_records_worker; "
            "CREATE UNIQUE INDEX uq_action_records_worker ON action_records (worker, claim_key) WHERE outcome = ''"
        ),
        (
            "DROP INDEX uq_action_records_worker; "
            "CREATE UNIQUE INDEX uq_action_records_worker ON action_records (worker, claim_key) WHERE outcome IS NULL"
        ),
        "the unique index uq_action_records_worker of action_records is altered",
    ),
    "an index that refuses a stop": (
        "CREATE UNIQUE INDEX host ON kill_switch (engaged_at IS NULL)",
        "DROP INDEX host",
        "the index host of kill_switch is not ours",
    ),
}
