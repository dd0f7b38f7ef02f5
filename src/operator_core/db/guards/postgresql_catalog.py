"""The queries of PostgreSQL's catalogs about a ledger: faults that no schema may have, and definitions.

The tables are those that the search path finds; the functions are those of their schema. No definition contains the
name of a schema or of a role, so that the same ledger reads the same wherever it is. A row is a kind, a table, a name
and a definition. A fault is only a text, which ends in the statement that repairs it, after a colon.
"""

import sqlalchemy as sa

from operator_core.db.guards.conditions import LEDGER_TABLES
from operator_core.db.guards.postgresql import functions, other_functions
from operator_core.db.schema import sql_list

PREFIX = "operator_core_"
"""The beginning of the name of each of our triggers and functions."""
Definitions = dict[str, dict[tuple[str, str], str]]
"""The definitions of each kind of object, by table and name."""
BODY = "body of function"
_FAULT = "fault"

_OURS = sql_list({**functions(), **other_functions()})
_SOURCES = f"""WITH
ledger AS (
    SELECT c.*, n.nspname
    FROM unnest(ARRAY[{sql_list(LEDGER_TABLES)}]) AS t(name)
    JOIN pg_class AS c ON c.oid = to_regclass(t.name)
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
), home AS (
    SELECT l.relnamespace, l.relowner, l.nspname FROM ledger AS l WHERE l.relname = 'kill_switch'
), functions AS (
    SELECT p.*, h.nspname, h.relowner, p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')' AS signature
    FROM home AS h JOIN pg_proc AS p ON p.pronamespace = h.relnamespace AND p.proname IN ({_OURS})
), triggers AS (
    SELECT t.*, l.relname, l.relnamespace FROM ledger AS l JOIN pg_trigger AS t ON t.tgrelid = l.oid
)"""

_FAULTS = (
    """
    SELECT unnest(ARRAY[
        CASE WHEN l.relkind <> 'r' OR l.relpersistence = 't' THEN
            format('%s is %s, and must be an ordinary table', l.relname, CASE
                WHEN l.relkind = 'v' THEN 'a view' WHEN l.relkind = 'm' THEN 'a materialized view'
                WHEN l.relkind = 'f' THEN 'a foreign table' WHEN l.relkind = 'p' THEN 'a partitioned table'
                WHEN l.relpersistence = 't' THEN 'a temporary table' ELSE 'no table' END) END,
        CASE WHEN l.relkind = 'r' AND l.relpersistence = 'u' THEN
            format('%1$s is UNLOGGED, so a crash of the server empties it: ALTER TABLE %1$s SET LOGGED', l.relname) END,
        CASE WHEN l.relnamespace <> h.relnamespace THEN
            format('%I.%I is not in the schema of kill_switch, which is %I', l.nspname, l.relname, h.nspname) END,
        CASE WHEN l.relowner <> h.relowner THEN
            format('%1$s belongs to %2$I, and kill_switch to %3$I: ALTER TABLE %1$s OWNER TO %3$I',
                   l.relname, pg_get_userbyid(l.relowner), pg_get_userbyid(h.relowner)) END,
        CASE WHEN l.relrowsecurity THEN
            format('row level security is on for %1$s, so rows may be hidden: '
                   'ALTER TABLE %1$s DISABLE ROW LEVEL SECURITY', l.relname) END])
    FROM ledger AS l CROSS JOIN home AS h""",
    f"""
    SELECT unnest(ARRAY[
        CASE WHEN f.proowner <> f.relowner THEN
            format('function %1$s belongs to %2$I, and kill_switch to %3$I: ALTER FUNCTION %1$s OWNER TO %3$I',
                   f.signature, pg_get_userbyid(f.proowner), pg_get_userbyid(f.relowner)) END,
        CASE WHEN has_function_privilege('public', f.oid, 'EXECUTE') THEN
            format('function %1$s may be called by everybody: REVOKE ALL ON FUNCTION %1$s FROM PUBLIC',
                   f.signature) END,
        CASE WHEN f.proname IN ({sql_list(other_functions())}) AND NOT pg_function_is_visible(f.oid) THEN
            format('function %s is hidden by another one, in a schema that the search path names before %I',
                   f.signature, f.nspname) END])
    FROM functions AS f""",
    f"""
    SELECT CASE WHEN NOT t.tgisinternal THEN format('%s is disabled', t.tgname)
        ELSE format('the foreign key %1$I of %2$s is not enforced: ALTER TABLE %3$s ENABLE TRIGGER ALL',
                    k.conname, k.conrelid::regclass, t.relname) END
    FROM triggers AS t LEFT JOIN pg_constraint AS k ON k.oid = t.tgconstraint
    WHERE t.tgenabled NOT IN ('O', 'A') AND (t.tgisinternal OR starts_with(t.tgname, '{PREFIX}'))""",
    """
    SELECT format('%2$s has the rule %1$I, which rewrites statements: DROP RULE %1$I ON %2$s', r.rulename, l.relname)
    FROM ledger AS l JOIN pg_rewrite AS r ON r.ev_class = l.oid WHERE l.relkind = 'r'""",
    """
    SELECT format('%1$s inherits from %2$s, so that one shows rows of the other: ALTER TABLE %1$s NO INHERIT %2$s',
                  i.inhrelid::regclass, i.inhparent::regclass)
    FROM pg_inherits AS i JOIN ledger AS l ON l.oid IN (i.inhrelid, i.inhparent)""",
    """
    SELECT 'no guard fires in sessions of ' || CASE
        WHEN s.setrole = 0 THEN format('this database: ALTER DATABASE %I RESET session_replication_role', d.datname)
        WHEN s.setdatabase = 0 THEN format('%1$I: ALTER ROLE %1$I RESET session_replication_role', r.rolname)
        ELSE format('%1$I: ALTER ROLE %1$I IN DATABASE %2$I RESET session_replication_role', r.rolname, d.datname) END
    FROM pg_db_role_setting AS s JOIN pg_database AS d ON d.datname = current_database()
    LEFT JOIN pg_roles AS r ON r.oid = s.setrole
    WHERE s.setdatabase IN (0, d.oid) AND 'session_replication_role=replica' = ANY(s.setconfig)""",
)

_EVENTS = ", ".join(
    f"CASE WHEN t.tgtype & {bit} <> 0 THEN '{event}' END"
    for event, bit in (("INSERT", 4), ("UPDATE", 16), ("DELETE", 8), ("TRUNCATE", 32))
)
_DEFINITIONS = {
    "table": "SELECT l.relname, '', '' FROM ledger AS l",
    "column": """
    SELECT l.relname, a.attname, concat_ws(' ', format_type(a.atttypid, a.atttypmod),
        CASE WHEN y.typtype = 'd' THEN 'DOMAIN' END,
        CASE WHEN NOT c.collisdeterministic THEN 'COLLATE ' || c.collname END,
        CASE WHEN a.attnotnull THEN 'NOT NULL' END,
        CASE a.attidentity WHEN 'a' THEN 'GENERATED ALWAYS AS IDENTITY'
                           WHEN 'd' THEN 'GENERATED BY DEFAULT AS IDENTITY' END,
        -- Without the table, which PostgreSQL 18 would lock: a default names no column.
        CASE WHEN a.attgenerated = '' THEN 'DEFAULT ' || pg_get_expr(d.adbin, 0) ELSE 'GENERATED' END)
    FROM ledger AS l
    JOIN pg_attribute AS a ON a.attrelid = l.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type AS y ON y.oid = a.atttypid
    LEFT JOIN pg_collation AS c ON c.oid = a.attcollation
    LEFT JOIN pg_attrdef AS d ON d.adrelid = l.oid AND d.adnum = a.attnum""",
    # PostgreSQL 18 keeps each NOT NULL as a constraint too: here it belongs to its column. The offline script of a
    # host's own chain doubles each % of a LIKE, where it means the same.
    "constraint": """
    SELECT l.relname, k.conname, replace(pg_get_constraintdef(k.oid), '%%', '%')
    FROM ledger AS l JOIN pg_constraint AS k ON k.conrelid = l.oid WHERE k.contype IN ('c', 'f', 'p', 'u', 'x')""",
    "index": """
    SELECT l.relname, c.relname, concat_ws(' ', CASE WHEN i.indisunique THEN 'UNIQUE' END,
        substring(pg_get_indexdef(i.indexrelid) FROM ' USING (.*)$'),
        CASE WHEN NOT i.indimmediate THEN 'DEFERRABLE' END, CASE WHEN i.indisexclusion THEN 'EXCLUDE' END,
        CASE WHEN NOT (i.indisvalid AND i.indisready AND i.indislive) THEN 'INVALID' END)
    FROM ledger AS l JOIN pg_index AS i ON i.indrelid = l.oid JOIN pg_class AS c ON c.oid = i.indexrelid""",
    "sequence": """
    SELECT l.relname, a.attname, concat_ws(' ', format_type(s.seqtypid, NULL), 'FROM', s.seqmin, 'TO', s.seqmax,
        'BY', s.seqincrement, CASE WHEN s.seqcycle THEN 'CYCLE' END,
        CASE c.relpersistence WHEN 'u' THEN 'UNLOGGED' WHEN 't' THEN 'TEMPORARY' END)
    FROM ledger AS l
    JOIN pg_depend AS d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = l.oid AND d.deptype = 'i'
    JOIN pg_class AS c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid AND c.relkind = 'S'
    JOIN pg_sequence AS s ON s.seqrelid = c.oid
    JOIN pg_attribute AS a ON a.attrelid = l.oid AND a.attnum = d.refobjsubid""",
    "trigger": f"""
    SELECT t.relname, t.tgname, concat_ws(' ',
        CASE WHEN t.tgtype & 2 <> 0 THEN 'BEFORE' WHEN t.tgtype & 64 <> 0 THEN 'INSTEAD OF' ELSE 'AFTER' END,
        {_EVENTS},
        'OF ' || (SELECT string_agg(a.attname, ', ' ORDER BY a.attname) FROM pg_attribute AS a
                  WHERE a.attrelid = t.tgrelid AND a.attnum = ANY(t.tgattr)),
        CASE WHEN t.tgtype & 1 <> 0 THEN 'EACH ROW' ELSE 'EACH STATEMENT' END,
        CASE WHEN t.tgconstraint <> 0 THEN 'CONSTRAINT' END,
        CASE WHEN t.tgdeferrable THEN 'DEFERRABLE' END, CASE WHEN t.tginitdeferred THEN 'INITIALLY DEFERRED' END,
        CASE WHEN t.tgoldtable IS NOT NULL OR t.tgnewtable IS NOT NULL THEN 'REFERENCING' END,
        CASE WHEN t.tgqual IS NOT NULL THEN 'WHEN ' ||
            substring(pg_get_triggerdef(t.oid, true) FROM ' WHEN (.*) EXECUTE ') END,
        'CALLS', CASE WHEN p.pronamespace <> t.relnamespace THEN p.pronamespace::regnamespace || '.' ELSE '' END
            || p.proname,
        CASE WHEN t.tgnargs > 0 THEN 'WITH ARGUMENTS' END)
    FROM triggers AS t JOIN pg_proc AS p ON p.oid = t.tgfoid WHERE NOT t.tgisinternal""",
    "function": """
    SELECT '', f.signature, concat_ws(' ', 'RETURNS', pg_get_function_result(f.oid), 'LANGUAGE', l.lanname,
        CASE f.provolatile WHEN 'v' THEN 'VOLATILE' WHEN 's' THEN 'STABLE' ELSE 'IMMUTABLE' END,
        CASE f.proparallel WHEN 'u' THEN 'PARALLEL UNSAFE' WHEN 'r' THEN 'PARALLEL RESTRICTED'
                           ELSE 'PARALLEL SAFE' END,
        CASE WHEN f.prosecdef THEN 'SECURITY DEFINER' END, CASE WHEN f.proisstrict THEN 'STRICT' END,
        CASE WHEN f.proleakproof THEN 'LEAKPROOF' END, CASE WHEN f.prokind <> 'f' THEN 'PROCEDURE' END,
        (SELECT string_agg('SET ' || CASE
            WHEN s = 'search_path=pg_catalog, ' || quote_ident(f.nspname) || ', pg_temp'
            THEN 'search_path=pg_catalog, {schema}, pg_temp' ELSE s END, ' ' ORDER BY s)
         FROM unnest(f.proconfig) AS s))
    FROM functions AS f JOIN pg_language AS l ON l.oid = f.prolang""",
    BODY: "SELECT '', f.signature, f.prosrc FROM functions AS f",
}

GUARDS = ("table", "trigger", "function", BODY)
SCHEMA = ("column", "constraint", "index", "sequence")
"""The kinds of the second query. To print a CHECK or a predicate, PostgreSQL 18 waits for locks on the table."""


def _query(kinds: tuple[str, ...], faults: tuple[str, ...] = ()) -> sa.TextClause:
    parts = [
        f"SELECT '{_FAULT}', '', f.text, '' FROM ({fault}) AS f(text) WHERE f.text IS NOT NULL" for fault in faults
    ]
    parts += [
        f"SELECT '{kind}', d.t::text, d.n::text, d.d::text FROM ({_DEFINITIONS[kind]}) AS d(t, n, d)" for kind in kinds
    ]
    return sa.text(f"{_SOURCES}\n{' UNION ALL '.join(parts)}")


_GUARDS = _query(GUARDS, _FAULTS)
_SCHEMA = _query(SCHEMA)


def read_guards(connection: sa.Connection) -> tuple[list[str], Definitions]:
    """Return the faults of a ledger, and the definitions of its guards; waits for no lock."""
    definitions = _definitions(connection, _GUARDS, (_FAULT, *GUARDS))
    return sorted(text for _, text in definitions.pop(_FAULT)), definitions


def read_schema(connection: sa.Connection) -> Definitions:
    """Return the definitions of the tables of a ledger."""
    return _definitions(connection, _SCHEMA, SCHEMA)


def _definitions(connection: sa.Connection, query: sa.TextClause, kinds: tuple[str, ...]) -> Definitions:
    definitions: Definitions = {kind: {} for kind in kinds}
    for kind, table, name, definition in connection.execute(query):
        definitions[kind][table, name] = definition
    return definitions
