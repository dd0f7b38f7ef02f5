"""What somebody may alter on PostgreSQL that a promise rests on: how, how it is undone, and what names it."""

HIDE = "CREATE POLICY hide ON kill_switch USING (engaged_at IS NULL)"
SWALLOW = "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$"
VIEW = (
    "ALTER TABLE kill_switch RENAME TO latch; CREATE VIEW kill_switch AS SELECT * FROM latch",
    "DROP VIEW kill_switch; ALTER TABLE latch RENAME TO kill_switch",
)
ENGAGE = "operator_core_engage(stop_scope text)"
LAXER = "ALTER TABLE kill_switch DROP CONSTRAINT ck_kill_switch_released, ADD CONSTRAINT ck_kill_switch_released CHECK "

# What is done, how it is undone, and what is named.
ON_POSTGRESQL = {
    "a function that sees an old snapshot": (
        "ALTER FUNCTION operator_core_proposals_update() STABLE",
        "ALTER FUNCTION operator_core_proposals_update() VOLATILE",
        "function operator_core_proposals_update is altered: it is RETURNS trigger LANGUAGE plpgsql STABLE",
    ),
    "a function that is strict": (
        "ALTER FUNCTION operator_core_sweep STRICT",
        "ALTER FUNCTION operator_core_sweep CALLED ON NULL INPUT",
        "function operator_core_sweep is altered",
    ),
    "a function that is leakproof": (
        "ALTER FUNCTION operator_core_notes_insert() LEAKPROOF",
        "ALTER FUNCTION operator_core_notes_insert() NOT LEAKPROOF",
        "function operator_core_notes_insert is altered",
    ),
    "a function for parallel workers": (
        "ALTER FUNCTION operator_core_records_update() PARALLEL SAFE",
        "ALTER FUNCTION operator_core_records_update() PARALLEL UNSAFE",
        "function operator_core_records_update is altered",
    ),
    "a function with a setting": (
        "ALTER FUNCTION operator_core_write_event() SET session_replication_role = 'replica'",
        "ALTER FUNCTION operator_core_write_event() RESET session_replication_role",
        "function operator_core_write_event is altered",
    ),
    "a function of the operator that runs as its caller": (
        "ALTER FUNCTION operator_core_engage SECURITY INVOKER",
        "ALTER FUNCTION operator_core_engage SECURITY DEFINER",
        "function operator_core_engage is altered",
    ),
    "a function of another owner": (
        "ALTER FUNCTION operator_core_write_note() OWNER TO pg_monitor",
        "ALTER FUNCTION operator_core_write_note() OWNER TO CURRENT_USER",
        "function operator_core_write_note() belongs to pg_monitor",
    ),
    "a function that everybody may call": (
        "GRANT EXECUTE ON FUNCTION operator_core_engage TO PUBLIC",
        "REVOKE ALL ON FUNCTION operator_core_engage FROM PUBLIC",
        "may be called by everybody: REVOKE ALL ON FUNCTION operator_core_engage(",
    ),
    "a second function of the same name": (
        f"CREATE FUNCTION {ENGAGE} RETURNS void LANGUAGE sql AS ''; REVOKE ALL ON FUNCTION {ENGAGE} FROM PUBLIC",
        f"DROP FUNCTION {ENGAGE}",
        f"DROP FUNCTION {ENGAGE}",
    ),
    "a function that another schema hides": (
        (
            "CREATE SCHEMA evil; CREATE FUNCTION evil.operator_core_sweep(swept_generation bigint, sweep_rows integer) "
            "RETURNS SETOF bigint LANGUAGE sql AS 'SELECT 1::bigint'; "
            "ALTER DATABASE {database} SET search_path = evil, public"
        ),
        "ALTER DATABASE {database} RESET search_path; DROP SCHEMA evil CASCADE",
        "function operator_core_sweep(swept_generation bigint, sweep_rows integer) is hidden",
    ),
    "row security": (
        f"{HIDE}; ALTER TABLE kill_switch ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE kill_switch DISABLE ROW LEVEL SECURITY; DROP POLICY hide ON kill_switch",
        "row level security is on for kill_switch",
    ),
    "a rule that drops rows": (
        "CREATE RULE drop_events AS ON INSERT TO action_events DO INSTEAD NOTHING",
        "DROP RULE drop_events ON action_events",
        "action_events has the rule drop_events",
    ),
    "a rule beside": (
        "CREATE RULE also AS ON UPDATE TO kill_switch DO ALSO NOTIFY stop",
        "DROP RULE also ON kill_switch",
        "DROP RULE also ON kill_switch",
    ),
    "a trigger that swallows rows": (
        f"{SWALLOW}; CREATE TRIGGER zz BEFORE INSERT ON kill_switch_events FOR EACH ROW EXECUTE FUNCTION swallow()",
        "DROP FUNCTION swallow CASCADE",
        "the trigger zz on kill_switch_events is not ours",
    ),
    "a guard that is called with arguments": (
        (
            "CREATE OR REPLACE TRIGGER operator_core_kill_switch_delete BEFORE DELETE ON kill_switch "
            "FOR EACH ROW EXECUTE FUNCTION operator_core_refuse_always('x')"
        ),
        (
            "CREATE OR REPLACE TRIGGER operator_core_kill_switch_delete BEFORE DELETE ON kill_switch "
            "FOR EACH ROW EXECUTE FUNCTION operator_core_refuse_always()"
        ),
        "operator_core_kill_switch_delete is altered",
    ),
    "a guard that calls another schema": (
        (
            f"CREATE SCHEMA evil; CREATE FUNCTION evil.operator_core_refuse_always() {SWALLOW.partition('() ')[2]}; "
            "CREATE OR REPLACE TRIGGER operator_core_prunes_keep BEFORE UPDATE OR DELETE ON action_prunes "
            "FOR EACH ROW EXECUTE FUNCTION evil.operator_core_refuse_always()"
        ),
        (
            "CREATE OR REPLACE TRIGGER operator_core_prunes_keep BEFORE UPDATE OR DELETE ON action_prunes "
            "FOR EACH ROW EXECUTE FUNCTION operator_core_refuse_always(); DROP SCHEMA evil CASCADE"
        ),
        "operator_core_prunes_keep is altered: it is BEFORE UPDATE DELETE EACH ROW CALLS evil.operator_core_refuse_a",
    ),
    "a foreign key that is not enforced": (
        "ALTER TABLE action_records DISABLE TRIGGER ALL; ALTER TABLE action_records ENABLE TRIGGER USER",
        "ALTER TABLE action_records ENABLE TRIGGER ALL",
        "the foreign key fk_action_records_proposal_id_action_proposals of action_records is not enforced",
    ),
    "a role in whose sessions no guard fires": (
        "CREATE ROLE mute; ALTER ROLE mute IN DATABASE {database} SET session_replication_role = 'replica'",
        "DROP ROLE mute",
        "no guard fires in sessions of mute",
    ),
    "a table of another owner": (
        "ALTER TABLE action_events OWNER TO pg_monitor",
        "ALTER TABLE action_events OWNER TO CURRENT_USER",
        "action_events belongs to pg_monitor",
    ),
    "a table that a crash empties": (
        "ALTER TABLE kill_switch SET UNLOGGED",
        "ALTER TABLE kill_switch SET LOGGED",
        "kill_switch is UNLOGGED",
    ),
    "a table with a child": (
        "CREATE TABLE child () INHERITS (action_events)",
        "DROP TABLE child",
        "child inherits from action_events",
    ),
    "a table with a parent": (
        "CREATE TABLE parent (reason text); ALTER TABLE action_prunes INHERIT parent",
        "ALTER TABLE action_prunes NO INHERIT parent; DROP TABLE parent",
        "action_prunes inherits from parent",
    ),
    "a view in its place": (*VIEW, "kill_switch is a view"),
    "a table that is gone": (
        "ALTER TABLE action_prunes RENAME TO other",
        "ALTER TABLE other RENAME TO action_prunes",
        "the table action_prunes is missing",
    ),
    "a latch that is gone": (
        "ALTER TABLE kill_switch RENAME TO other",
        "ALTER TABLE other RENAME TO kill_switch",
        "the table kill_switch is missing",
    ),
    "a column that may be empty": (
        "ALTER TABLE action_events ALTER by DROP NOT NULL",
        "ALTER TABLE action_events ALTER by SET NOT NULL",
        "the column action_events.by is altered: it is text, not text NOT NULL",
    ),
    "a column without its default": (
        "ALTER TABLE action_prunes ALTER keep_events DROP DEFAULT",
        "ALTER TABLE action_prunes ALTER keep_events SET DEFAULT true",
        "the column action_prunes.keep_events is altered",
    ),
    "a column of another type": (
        "ALTER TABLE action_prunes ALTER reason TYPE varchar(10)",
        "ALTER TABLE action_prunes ALTER reason TYPE text",
        "it is character varying(10) NOT NULL, not text NOT NULL",
    ),
    "ids that a client chooses": (
        "ALTER TABLE action_events ALTER id SET GENERATED BY DEFAULT",
        "ALTER TABLE action_events ALTER id SET GENERATED ALWAYS",
        "the column action_events.id is altered",
    ),
    "a column that is gone": (
        "ALTER TABLE action_records DROP claim_key",
        (
            "ALTER TABLE action_records ADD claim_key text; CREATE UNIQUE INDEX uq_action_records_worker "
            "ON action_records (worker, claim_key) WHERE outcome IS NULL"
        ),
        "the column action_records.claim_key is missing",
    ),
    "a column that no insert fills": (
        "ALTER TABLE kill_switch_events ADD host text NOT NULL",
        "ALTER TABLE kill_switch_events DROP host",
        "the column kill_switch_events.host is not ours",
    ),
    "a column that can fail": (
        "ALTER TABLE kill_switch ADD host bigint GENERATED ALWAYS AS (1 / (generation - 1)) STORED",
        "ALTER TABLE kill_switch DROP host",
        "the column kill_switch.host is not ours",
    ),
    "a constraint that is weaker": (
        f"{LAXER} (true)",
        (
            f"{LAXER} ((released_at IS NULL OR engaged_at IS NOT NULL) "
            "AND (released_by IS NULL) = (released_at IS NULL) AND (release_reason IS NULL) = (released_at IS NULL))"
        ),
        "the constraint ck_kill_switch_released of kill_switch is altered: it is CHECK (true)",
    ),
    "a constraint that is not validated": (
        (
            "ALTER TABLE kill_switch_events DROP CONSTRAINT ck_kill_switch_events_change, ADD CONSTRAINT "
            "ck_kill_switch_events_change CHECK (change IN ('engaged', 'released')) NOT VALID"
        ),
        "ALTER TABLE kill_switch_events VALIDATE CONSTRAINT ck_kill_switch_events_change",
        "the constraint ck_kill_switch_events_change of kill_switch_events is altered",
    ),
    "a constraint that refuses a stop": (
        "ALTER TABLE kill_switch ADD CONSTRAINT host CHECK (generation < 1)",
        "ALTER TABLE kill_switch DROP CONSTRAINT host",
        "the constraint host of kill_switch is not ours",
    ),
    "a constraint that refuses the second event": (
        "ALTER TABLE action_events ADD CONSTRAINT host UNIQUE (by)",
        "ALTER TABLE action_events DROP CONSTRAINT host",
        "the constraint host of action_events is not ours",
    ),
    "a constraint that waits for the commit": (
        (
            "ALTER TABLE action_records DROP CONSTRAINT uq_action_records_proposal_id, "
            "ADD CONSTRAINT uq_action_records_proposal_id UNIQUE (proposal_id) DEFERRABLE"
        ),
        (
            "ALTER TABLE action_records DROP CONSTRAINT uq_action_records_proposal_id, "
            "ADD CONSTRAINT uq_action_records_proposal_id UNIQUE (proposal_id)"
        ),
        "the constraint uq_action_records_proposal_id of action_records is altered",
    ),
    "an index that refuses a stop": (
        "CREATE UNIQUE INDEX host ON kill_switch ((engaged_at IS NULL))",
        "DROP INDEX host",
        "the index host of kill_switch is not ours",
    ),
    "an index that can fail": (
        "CREATE INDEX host ON kill_switch ((1 / (generation - 1)))",
        "DROP INDEX host",
        "the index host of kill_switch is not ours",
    ),
    "an index that covers less": (
        (
            "DROP INDEX uq_action_records_worker; CREATE UNIQUE INDEX uq_action_records_worker "
            "ON action_records (worker, claim_key) WHERE false"
        ),
        (
            "DROP INDEX uq_action_records_worker; CREATE UNIQUE INDEX uq_action_records_worker "
            "ON action_records (worker, claim_key) WHERE outcome IS NULL"
        ),
        "the unique index uq_action_records_worker of action_records is altered",
    ),
    "an index that was not built": (
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'uq_action_notes_record_id'::regclass",
        "UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'uq_action_notes_record_id'::regclass",
        "the unique index uq_action_notes_record_id of action_notes is altered",
    ),
    "ids that come again": (
        "ALTER TABLE action_events ALTER id SET CYCLE",
        "ALTER TABLE action_events ALTER id SET NO CYCLE",
        "the sequence behind action_events.id is altered",
    ),
    "ids that end": (
        "ALTER TABLE kill_switch_events ALTER id SET MAXVALUE 7",
        "ALTER TABLE kill_switch_events ALTER id SET NO MAXVALUE",
        "the sequence behind kill_switch_events.id is altered",
    ),
}
