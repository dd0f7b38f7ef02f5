SELECT pg_catalog.set_config('search_path', '', false);
CREATE FUNCTION public.operator_core_events_insert() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    -- 1 is a client's own statement; the triggers that write history insert at 2.
    IF pg_trigger_depth() < 2 OR NOT EXISTS (SELECT 1 FROM action_proposals AS p WHERE p.id = NEW.proposal_id AND p.status_at = NEW.at AND (NEW.from_status IS NULL AND NEW.to_status = 'proposed' AND (SELECT e.to_status FROM action_events AS e WHERE e.proposal_id = p.id ORDER BY e.id DESC LIMIT 1) IS NULL OR p.status = NEW.to_status AND NEW.from_status = (SELECT e.to_status FROM action_events AS e WHERE e.proposal_id = p.id ORDER BY e.id DESC LIMIT 1))) THEN
        RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
    END IF;
    RETURN NEW;
END
$$;
CREATE FUNCTION public.operator_core_kill_switch_change() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $_$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.released_at IS NOT NULL THEN
        IF OLD.engaged_at IS NULL OR OLD.released_at IS NOT NULL OR NEW.scope IS DISTINCT FROM OLD.scope OR NEW.generation IS DISTINCT FROM OLD.generation OR NEW.engaged_at IS DISTINCT FROM OLD.engaged_at OR NEW.engaged_by IS DISTINCT FROM OLD.engaged_by OR NEW.reason IS DISTINCT FROM OLD.reason THEN
            RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
        END IF;
    ELSE
        IF NEW.released_at IS NOT NULL OR (TG_OP = 'UPDATE' AND NEW.scope <> OLD.scope) THEN
            RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
        END IF;
    IF NOT (NEW.scope = 'everything' OR NEW.scope IN ('action_type=subject', 'action_type=tool', 'action_type=workflow') OR substr(NEW.scope, 1, 12) IN ('action_name=', 'proposed_by=') AND length(NEW.scope) BETWEEN 13 AND 267 AND trim(substr(NEW.scope, 13)) <> '' OR substr(NEW.scope, 1, 10) = 'ticket_id=' AND substr(NEW.scope, 11) ~ '^(0|-?[1-9][0-9]{0,18})$') THEN
        RAISE EXCEPTION 'OC007: a scope is everything, action_type=, action_name=, proposed_by= or ticket_id= with a value' USING ERRCODE = 'OC007';
    END IF;
        NEW.generation := (SELECT max(k.generation) FROM kill_switch AS k) + 1;
        NEW.engaged_at := coalesce(NEW.engaged_at, clock_timestamp());
        NEW.engaged_by := coalesce(NEW.engaged_by, 'sql:' || session_user::text);
    END IF;
    IF NEW.engaged_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR NEW.released_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' THEN
        RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
    END IF;
    RETURN NEW;
END
$_$;
CREATE FUNCTION public.operator_core_kill_switch_counter() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    -- Before any row is locked, so that two stops at once queue instead of meeting crosswise.
    PERFORM pg_advisory_xact_lock(8030029677537292147);
    RETURN NULL;
END
$$;
CREATE FUNCTION public.operator_core_kill_switch_events_insert() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    -- 1 is a client's own statement; the triggers that write history insert at 2.
    IF pg_trigger_depth() < 2 OR NOT EXISTS (SELECT 1 FROM kill_switch AS k WHERE k.scope = NEW.scope AND k.generation = NEW.generation AND k.engaged_at IS NOT NULL AND (k.released_at IS NULL) = (NEW.change = 'engaged') AND CASE WHEN k.released_at IS NULL THEN k.engaged_at ELSE k.released_at END = NEW.at) THEN
        RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
    END IF;
    RETURN NEW;
END
$$;
CREATE FUNCTION public.operator_core_proposals_delete() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    IF OLD.status NOT IN ('completed', 'failed', 'cancelled') OR EXISTS (SELECT 1 FROM action_records AS r WHERE r.proposal_id = OLD.id) OR NOT EXISTS (SELECT 1 FROM action_prunes AS p WHERE p.before > OLD.status_at) THEN
        RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
    END IF;
    RETURN OLD;
END
$$;
CREATE FUNCTION public.operator_core_proposals_insert() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    stop RECORD;
BEGIN
    IF NEW.status NOT IN ('proposed', 'cancelled') THEN
        RAISE EXCEPTION 'OC001: this step is not in the table of steps' USING ERRCODE = 'OC001';
    END IF;
    SELECT (SELECT max(k.generation) FROM kill_switch AS k) AS counter, EXISTS (SELECT 1 FROM kill_switch AS k WHERE k.scope = 'everything') AS readable, s.* INTO stop
    FROM (SELECT 1) AS always LEFT JOIN (
        SELECT k.engaged_by, k.reason FROM kill_switch AS k WHERE k.scope IN ('everything', 'action_type=' || CAST(NEW.action_type AS TEXT), 'action_name=' || CAST(NEW.action_name AS TEXT), 'proposed_by=' || CAST(NEW.proposed_by AS TEXT), 'ticket_id=' || CAST(NEW.ticket_id AS TEXT)) AND k.engaged_at IS NOT NULL AND k.released_at IS NULL
        ORDER BY k.generation DESC LIMIT 1
    ) AS s ON true;
    IF NOT stop.readable THEN
        RAISE EXCEPTION 'OC005: the latch cannot be read, so nothing is proposed or started' USING ERRCODE = 'OC005';
    END IF;
    IF NEW.validated_at IS NOT NULL OR NEW.executing_at IS NOT NULL OR NEW.completed_at IS NOT NULL OR NEW.failed_at IS NOT NULL THEN
        RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
    END IF;
    NEW.generation := stop.counter;
    NEW.proposed_at := coalesce(NEW.proposed_at, clock_timestamp());
    NEW.proposed_by := coalesce(NEW.proposed_by, 'sql:' || session_user::text);
    NEW.status_at := coalesce(NEW.status_at, clock_timestamp());
    IF NEW.proposed_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR NEW.status_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' THEN
        RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
    END IF;
    IF stop.engaged_by IS NULL THEN
        NEW.cancelled_at := NULL;
        NEW.status := 'proposed';
        NEW.status_by := NEW.proposed_by;
        NEW.status_reason := NULL;
    ELSE
        NEW.status := 'cancelled';
        NEW.status_by := stop.engaged_by;
        NEW.status_reason := stop.reason;
        NEW.cancelled_at := NEW.status_at;
    END IF;
    RETURN NEW;
END
$$;
CREATE FUNCTION public.operator_core_proposals_update() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    IF NEW.id IS DISTINCT FROM OLD.id OR NEW.ticket_id IS DISTINCT FROM OLD.ticket_id OR NEW.action_name IS DISTINCT FROM OLD.action_name OR NEW.action_type IS DISTINCT FROM OLD.action_type OR NEW.reason IS DISTINCT FROM OLD.reason OR NEW.proposed_at IS DISTINCT FROM OLD.proposed_at OR NEW.proposed_by IS DISTINCT FROM OLD.proposed_by OR NEW.generation IS DISTINCT FROM OLD.generation OR NEW.parameters::text IS DISTINCT FROM OLD.parameters::text THEN
        RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
    END IF;
    IF NOT ((OLD.status = 'proposed' AND NEW.status IN ('validated', 'cancelled')) OR (OLD.status = 'validated' AND NEW.status IN ('executing', 'cancelled')) OR (OLD.status = 'executing' AND NEW.status IN ('completed', 'failed', 'cancelled'))) THEN
        RAISE EXCEPTION 'OC001: this step is not in the table of steps' USING ERRCODE = 'OC001';
    END IF;
    IF (NEW.validated_at IS DISTINCT FROM OLD.validated_at AND NEW.status <> 'validated') OR (NEW.executing_at IS DISTINCT FROM OLD.executing_at AND NEW.status <> 'executing') OR (NEW.completed_at IS DISTINCT FROM OLD.completed_at AND NEW.status <> 'completed') OR (NEW.failed_at IS DISTINCT FROM OLD.failed_at AND NEW.status <> 'failed') OR (NEW.cancelled_at IS DISTINCT FROM OLD.cancelled_at AND NEW.status <> 'cancelled') THEN
        RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
    END IF;
    -- A client that sets the status alone: say when and who.
    IF (NEW.status = 'validated' AND NEW.validated_at IS NULL) OR (NEW.status = 'executing' AND NEW.executing_at IS NULL) OR (NEW.status = 'completed' AND NEW.completed_at IS NULL) OR (NEW.status = 'failed' AND NEW.failed_at IS NULL) OR (NEW.status = 'cancelled' AND NEW.cancelled_at IS NULL) THEN
        NEW.status_at := clock_timestamp();
        NEW.status_by := 'sql:' || session_user::text;
        IF NEW.status_reason IS NOT DISTINCT FROM OLD.status_reason THEN NEW.status_reason := NULL; END IF;
        IF NEW.status = 'validated' THEN NEW.validated_at := NEW.status_at; END IF;
        IF NEW.status = 'executing' THEN NEW.executing_at := NEW.status_at; END IF;
        IF NEW.status = 'completed' THEN NEW.completed_at := NEW.status_at; END IF;
        IF NEW.status = 'failed' THEN NEW.failed_at := NEW.status_at; END IF;
        IF NEW.status = 'cancelled' THEN NEW.cancelled_at := NEW.status_at; END IF;
    END IF;
    IF NEW.status_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' THEN
        RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
    END IF;
    IF NEW.status = 'executing' THEN
        IF current_setting('transaction_isolation') <> 'read committed' THEN
            RAISE EXCEPTION 'OC004: actions are started under READ COMMITTED only' USING ERRCODE = 'OC004';
        END IF;
        -- A stop that is published is seen here, without queueing behind its barrier.
        IF NOT EXISTS (SELECT 1 FROM kill_switch AS k WHERE k.scope = 'everything') THEN
            RAISE EXCEPTION 'OC005: the latch cannot be read, so nothing is proposed or started' USING ERRCODE = 'OC005';
        END IF;
        IF EXISTS (SELECT 1 FROM kill_switch AS k WHERE k.scope IN ('everything', 'action_type=' || CAST(NEW.action_type AS TEXT), 'action_name=' || CAST(NEW.action_name AS TEXT), 'proposed_by=' || CAST(NEW.proposed_by AS TEXT), 'ticket_id=' || CAST(NEW.ticket_id AS TEXT)) AND (k.engaged_at IS NOT NULL AND k.released_at IS NULL OR k.generation > NEW.generation)) THEN
            RAISE EXCEPTION 'OC003: the kill switch bars this' USING ERRCODE = 'OC003';
        END IF;
        PERFORM pg_advisory_xact_lock_shared(8030029677537292146);
        -- Again, in a new statement: only its snapshot is younger than the lock.
        IF NOT EXISTS (SELECT 1 FROM kill_switch AS k WHERE k.scope = 'everything') OR EXISTS (SELECT 1 FROM kill_switch AS k WHERE k.scope IN ('everything', 'action_type=' || CAST(NEW.action_type AS TEXT), 'action_name=' || CAST(NEW.action_name AS TEXT), 'proposed_by=' || CAST(NEW.proposed_by AS TEXT), 'ticket_id=' || CAST(NEW.ticket_id AS TEXT)) AND (k.engaged_at IS NOT NULL AND k.released_at IS NULL OR k.generation > NEW.generation)) THEN
            RAISE EXCEPTION 'OC003: the kill switch bars this' USING ERRCODE = 'OC003';
        END IF;
    END IF;
    IF OLD.status = 'executing' THEN
        IF NOT EXISTS (SELECT 1 FROM action_records AS r WHERE r.proposal_id = OLD.id AND ((NEW.status = 'completed' AND r.outcome IN ('succeeded')) OR (NEW.status = 'failed' AND r.outcome IN ('failed', 'unknown')) OR (NEW.status = 'cancelled' AND r.outcome IN ('stopped')))) THEN
            RAISE EXCEPTION 'OC006: the record does not allow this' USING ERRCODE = 'OC006';
        END IF;
    END IF;
    RETURN NEW;
END
$$;
CREATE FUNCTION public.operator_core_records_delete() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM action_proposals AS p JOIN action_prunes AS q ON q.before > p.status_at WHERE p.id = OLD.proposal_id AND p.status IN ('completed', 'failed', 'cancelled')) THEN
        RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
    END IF;
    RETURN OLD;
END
$$;
CREATE FUNCTION public.operator_core_records_insert() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    IF NEW.completed_at IS NOT NULL OR NOT EXISTS (SELECT 1 FROM action_proposals AS p WHERE p.id = NEW.proposal_id AND p.status = 'executing') THEN
        RAISE EXCEPTION 'OC006: the record does not allow this' USING ERRCODE = 'OC006';
    END IF;
    IF NEW.started_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR NEW.completed_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR NEW.cancel_requested_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' THEN
        RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
    END IF;
    RETURN NEW;
END
$$;
CREATE FUNCTION public.operator_core_records_update() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    IF OLD.completed_at IS NOT NULL OR NEW.id IS DISTINCT FROM OLD.id OR NEW.proposal_id IS DISTINCT FROM OLD.proposal_id OR NEW.started_at IS DISTINCT FROM OLD.started_at THEN
        RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
    END IF;
    IF OLD.cancel_requested_at IS NOT NULL AND (NEW.cancel_requested_at IS DISTINCT FROM OLD.cancel_requested_at OR NEW.cancel_requested_by IS DISTINCT FROM OLD.cancel_requested_by OR NEW.cancel_reason IS DISTINCT FROM OLD.cancel_reason) THEN
        RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
    END IF;
    IF NEW.completed_at IS NOT NULL THEN
        NEW.stop_generation := (SELECT max(k.generation) FROM action_proposals AS p JOIN kill_switch AS k ON k.scope IN ('everything', 'action_type=' || CAST(p.action_type AS TEXT), 'action_name=' || CAST(p.action_name AS TEXT), 'proposed_by=' || CAST(p.proposed_by AS TEXT), 'ticket_id=' || CAST(p.ticket_id AS TEXT)) AND k.generation > p.generation WHERE p.id = NEW.proposal_id);
    END IF;
    IF NEW.outcome = 'stopped' AND NEW.cancel_requested_at IS NULL AND NEW.stop_generation IS NULL THEN
        RAISE EXCEPTION 'OC006: the record does not allow this' USING ERRCODE = 'OC006';
    END IF;
    IF NEW.started_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR NEW.completed_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR NEW.cancel_requested_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' THEN
        RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
    END IF;
    RETURN NEW;
END
$$;
CREATE FUNCTION public.operator_core_refuse_always() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
END
$$;
CREATE FUNCTION public.operator_core_write_event() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO action_events (proposal_id, from_status, to_status, at, by, reason, generation, data)
        VALUES (NEW.id, NULL, 'proposed', NEW.status_at, NEW.proposed_by, NEW.reason, NEW.generation,
            json_build_object('ticket_id', NEW.ticket_id, 'action_name', NEW.action_name, 'action_type', NEW.action_type, 'parameters', NEW.parameters, 'reason', NEW.reason, 'proposed_at', to_char(NEW.proposed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), 'proposed_by', NEW.proposed_by));
        IF NEW.status <> 'proposed' THEN
            INSERT INTO action_events (proposal_id, from_status, to_status, at, by, reason, generation, data)
            VALUES (NEW.id, 'proposed', NEW.status, NEW.status_at, NEW.status_by, NEW.status_reason,
                NEW.generation, NULL);
        END IF;
    ELSIF OLD.status = 'executing' THEN
        INSERT INTO action_events (proposal_id, from_status, to_status, at, by, reason, generation, data)
        SELECT NEW.id, OLD.status, NEW.status, NEW.status_at, NEW.status_by, NEW.status_reason, (SELECT max(k.generation) FROM kill_switch AS k),
            json_build_object('record_id', r.id, 'started_at', to_char(r.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), 'completed_at', to_char(r.completed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), 'success', r.success, 'error_message', r.error_message, 'result_data', r.result_data, 'outcome', r.outcome, 'cancel_requested_at', to_char(r.cancel_requested_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), 'cancel_requested_by', r.cancel_requested_by, 'cancel_reason', r.cancel_reason, 'stop_generation', r.stop_generation)
        FROM action_records AS r WHERE r.proposal_id = NEW.id;
    ELSE
        INSERT INTO action_events (proposal_id, from_status, to_status, at, by, reason, generation, data)
        VALUES (NEW.id, OLD.status, NEW.status, NEW.status_at, NEW.status_by, NEW.status_reason, (SELECT max(k.generation) FROM kill_switch AS k), NULL);
    END IF;
    RETURN NULL;
END
$$;
CREATE FUNCTION public.operator_core_write_kill_switch_event() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    IF NEW.released_at IS NULL THEN
        INSERT INTO kill_switch_events (generation, scope, change, at, by, reason)
        VALUES (NEW.generation, NEW.scope, 'engaged', NEW.engaged_at, NEW.engaged_by, NEW.reason);
    ELSE
        INSERT INTO kill_switch_events (generation, scope, change, at, by, reason)
        VALUES (NEW.generation, NEW.scope, 'released', NEW.released_at, NEW.released_by, NEW.release_reason);
    END IF;
    PERFORM pg_notify('operator_core', NEW.generation::text);
    RETURN NULL;
END
$$;
CREATE TABLE public.action_events (
    id bigint NOT NULL,
    proposal_id bigint NOT NULL,
    from_status text,
    to_status text NOT NULL,
    at timestamp with time zone NOT NULL,
    by text NOT NULL,
    reason text,
    generation bigint NOT NULL,
    data json,
    CONSTRAINT ck_action_events_id CHECK (((id >= 1) AND (id <= '9007199254740991'::bigint)))
);
ALTER TABLE public.action_events ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.action_events_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.action_proposals (
    id bigint NOT NULL,
    ticket_id bigint,
    action_name text NOT NULL,
    action_type text NOT NULL,
    parameters json NOT NULL,
    reason text NOT NULL,
    status text DEFAULT 'proposed'::text NOT NULL,
    proposed_at timestamp with time zone NOT NULL,
    proposed_by text NOT NULL,
    generation bigint NOT NULL,
    status_at timestamp with time zone NOT NULL,
    status_by text NOT NULL,
    status_reason text,
    validated_at timestamp with time zone,
    executing_at timestamp with time zone,
    completed_at timestamp with time zone,
    failed_at timestamp with time zone,
    cancelled_at timestamp with time zone,
    CONSTRAINT ck_action_proposals_action_type CHECK ((action_type = ANY (ARRAY['subject'::text, 'tool'::text, 'workflow'::text]))),
    CONSTRAINT ck_action_proposals_cancelled_at CHECK ((((status <> 'cancelled'::text) OR (cancelled_at IS NOT NULL)) AND ((status <> ALL (ARRAY['proposed'::text, 'validated'::text, 'executing'::text, 'completed'::text, 'failed'::text])) OR (cancelled_at IS NULL)) AND ((status <> 'cancelled'::text) OR (status_at = cancelled_at)))),
    CONSTRAINT ck_action_proposals_completed_at CHECK ((((status <> 'completed'::text) OR (completed_at IS NOT NULL)) AND ((status <> ALL (ARRAY['proposed'::text, 'validated'::text, 'executing'::text, 'failed'::text, 'cancelled'::text])) OR (completed_at IS NULL)) AND ((status <> 'completed'::text) OR (status_at = completed_at)))),
    CONSTRAINT ck_action_proposals_executing_at CHECK ((((status <> ALL (ARRAY['executing'::text, 'completed'::text, 'failed'::text])) OR (executing_at IS NOT NULL)) AND ((status <> ALL (ARRAY['proposed'::text, 'validated'::text])) OR (executing_at IS NULL)) AND ((status <> 'executing'::text) OR (status_at = executing_at)))),
    CONSTRAINT ck_action_proposals_failed_at CHECK ((((status <> 'failed'::text) OR (failed_at IS NOT NULL)) AND ((status <> ALL (ARRAY['proposed'::text, 'validated'::text, 'executing'::text, 'completed'::text, 'cancelled'::text])) OR (failed_at IS NULL)) AND ((status <> 'failed'::text) OR (status_at = failed_at)))),
    CONSTRAINT ck_action_proposals_id CHECK (((id >= 1) AND (id <= '9007199254740991'::bigint))),
    CONSTRAINT ck_action_proposals_status CHECK ((status = ANY (ARRAY['proposed'::text, 'validated'::text, 'executing'::text, 'completed'::text, 'failed'::text, 'cancelled'::text]))),
    CONSTRAINT ck_action_proposals_validated_at CHECK ((((status <> ALL (ARRAY['validated'::text, 'executing'::text, 'completed'::text, 'failed'::text])) OR (validated_at IS NOT NULL)) AND ((status <> 'proposed'::text) OR (validated_at IS NULL)) AND ((status <> 'validated'::text) OR (status_at = validated_at))))
);
ALTER TABLE public.action_proposals ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.action_proposals_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.action_prunes (
    id bigint NOT NULL,
    before timestamp with time zone NOT NULL,
    by text NOT NULL,
    reason text NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT ck_action_prunes_id CHECK (((id >= 1) AND (id <= '9007199254740991'::bigint)))
);
ALTER TABLE public.action_prunes ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.action_prunes_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.action_records (
    id bigint NOT NULL,
    proposal_id bigint NOT NULL,
    started_at timestamp with time zone NOT NULL,
    completed_at timestamp with time zone,
    success boolean,
    error_message text,
    result_data json,
    outcome text,
    cancel_requested_at timestamp with time zone,
    cancel_requested_by text,
    cancel_reason text,
    stop_generation bigint,
    CONSTRAINT ck_action_records_cancel_requested_at CHECK (((cancel_requested_at IS NULL) = (cancel_requested_by IS NULL))),
    CONSTRAINT ck_action_records_completed_at CHECK (((completed_at IS NULL) = (outcome IS NULL))),
    CONSTRAINT ck_action_records_id CHECK (((id >= 1) AND (id <= '9007199254740991'::bigint))),
    CONSTRAINT ck_action_records_outcome CHECK ((outcome = ANY (ARRAY['succeeded'::text, 'failed'::text, 'stopped'::text, 'unknown'::text]))),
    CONSTRAINT ck_action_records_stop_generation CHECK (((stop_generation IS NULL) OR (completed_at IS NOT NULL))),
    CONSTRAINT ck_action_records_success CHECK ((((success IS NULL) = (outcome IS NULL)) AND ((success IS NULL) OR (success = (outcome = 'succeeded'::text)))))
);
ALTER TABLE public.action_records ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.action_records_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.kill_switch (
    scope text NOT NULL,
    generation bigint NOT NULL,
    engaged_at timestamp with time zone,
    engaged_by text,
    reason text,
    released_at timestamp with time zone,
    released_by text,
    release_reason text,
    CONSTRAINT ck_kill_switch_engaged CHECK ((((engaged_at IS NULL) = (generation = 0)) AND ((engaged_by IS NULL) = (engaged_at IS NULL)) AND ((reason IS NULL) = (engaged_at IS NULL)))),
    CONSTRAINT ck_kill_switch_released CHECK ((((released_at IS NULL) OR (engaged_at IS NOT NULL)) AND ((released_by IS NULL) = (released_at IS NULL)) AND ((release_reason IS NULL) = (released_at IS NULL)))),
    CONSTRAINT ck_kill_switch_scope CHECK (((scope = 'everything'::text) OR (scope ~~ 'action_type=_%'::text) OR (scope ~~ 'action_name=_%'::text) OR (scope ~~ 'proposed_by=_%'::text) OR (scope ~~ 'ticket_id=_%'::text)))
);
CREATE TABLE public.kill_switch_events (
    id bigint NOT NULL,
    generation bigint NOT NULL,
    scope text NOT NULL,
    change text NOT NULL,
    at timestamp with time zone NOT NULL,
    by text NOT NULL,
    reason text NOT NULL,
    CONSTRAINT ck_kill_switch_events_change CHECK ((change = ANY (ARRAY['engaged'::text, 'released'::text]))),
    CONSTRAINT ck_kill_switch_events_id CHECK (((id >= 1) AND (id <= '9007199254740991'::bigint)))
);
ALTER TABLE public.kill_switch_events ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.kill_switch_events_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.operator_core_version (
    version_num character varying(32) NOT NULL
);
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (1, 1, NULL, 'proposed', '2026-11-23 06:24:29.422981+05:30', 'agent', 'it hangs — 100 %', 0, '{"ticket_id" : null, "action_name" : "restart", "action_type" : "subject", "parameters" : {"host":1,"é":[1e+16,-0.0]}, "reason" : "it hangs — 100 %", "proposed_at" : "2026-10-01 12:00:00.000000", "proposed_by" : "agent"}');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (2, 1, 'proposed', 'validated', '2026-11-23 06:24:29.457974+05:30', 'ann', 'looks right', 0, NULL);
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (3, 2, NULL, 'proposed', '2026-11-23 06:24:29.471347+05:30', 'agent', 'it hangs — 100 %', 0, '{"ticket_id" : null, "action_name" : "restart", "action_type" : "subject", "parameters" : {"host":1,"é":[1e+16,-0.0]}, "reason" : "it hangs — 100 %", "proposed_at" : "2026-10-01 12:00:00.000000", "proposed_by" : "agent"}');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (4, 2, 'proposed', 'validated', '2026-11-23 06:24:29.4858+05:30', 'ann', 'looks right', 0, NULL);
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (5, 2, 'validated', 'executing', '2026-11-23 06:24:29.505668+05:30', 'w1', NULL, 0, NULL);
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (6, 1, 'validated', 'cancelled', '2026-11-23 06:24:29.600445+05:30', 'ann', 'fire', 1, NULL);
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (7, 2, 'executing', 'cancelled', '2026-11-23 06:24:29.648394+05:30', 'w1', NULL, 1, '{"record_id" : 1, "started_at" : "2026-11-23 00:54:29.505668", "completed_at" : "2026-11-23 00:54:29.643695", "success" : false, "error_message" : null, "result_data" : null, "outcome" : "stopped", "cancel_requested_at" : null, "cancel_requested_by" : null, "cancel_reason" : null, "stop_generation" : 1}');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (8, 3, NULL, 'proposed', '2026-11-23 06:24:29.65609+05:30', 'agent', 'it hangs — 100 %', 1, '{"ticket_id" : null, "action_name" : "restart", "action_type" : "subject", "parameters" : {"host":1,"é":[1e+16,-0.0]}, "reason" : "it hangs — 100 %", "proposed_at" : "2026-10-01 12:00:00.000000", "proposed_by" : "agent"}');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (9, 3, 'proposed', 'cancelled', '2026-11-23 06:24:29.65609+05:30', 'ann', 'fire', 1, NULL);
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (10, 4, NULL, 'proposed', '2026-11-23 06:24:29.675829+05:30', 'agent', 'it hangs — 100 %', 1, '{"ticket_id" : 7, "action_name" : "restart", "action_type" : "subject", "parameters" : {"host":1,"é":[1e+16,-0.0]}, "reason" : "it hangs — 100 %", "proposed_at" : "2026-10-01 12:00:00.000000", "proposed_by" : "agent"}');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (11, 5, NULL, 'proposed', '2026-11-23 06:24:29.683575+05:30', 'agent', 'it hangs — 100 %', 1, '{"ticket_id" : 7, "action_name" : "restart", "action_type" : "subject", "parameters" : {"host":1,"é":[1e+16,-0.0]}, "reason" : "it hangs — 100 %", "proposed_at" : "2026-10-01 12:00:00.000000", "proposed_by" : "agent"}');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (12, 5, 'proposed', 'validated', '2026-11-23 06:24:29.687925+05:30', 'ann', 'looks right', 1, NULL);
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (13, 6, NULL, 'proposed', '2026-11-23 06:24:29.691121+05:30', 'agent', 'it hangs — 100 %', 1, '{"ticket_id" : null, "action_name" : "restart", "action_type" : "subject", "parameters" : {"host":1,"é":[1e+16,-0.0]}, "reason" : "it hangs — 100 %", "proposed_at" : "2026-10-01 12:00:00.000000", "proposed_by" : "agent"}');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (14, 6, 'proposed', 'validated', '2026-11-23 06:24:29.69409+05:30', 'ann', 'looks right', 1, NULL);
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (15, 6, 'validated', 'executing', '2026-11-23 06:24:29.699398+05:30', 'w1', NULL, 1, NULL);
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (16, 7, NULL, 'proposed', '2026-11-23 06:24:29.70278+05:30', 'agent', 'it hangs — 100 %', 1, '{"ticket_id" : null, "action_name" : "restart", "action_type" : "subject", "parameters" : {"host":1,"é":[1e+16,-0.0]}, "reason" : "it hangs — 100 %", "proposed_at" : "2026-10-01 12:00:00.000000", "proposed_by" : "agent"}');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (17, 7, 'proposed', 'validated', '2026-11-23 06:24:29.707859+05:30', 'ann', 'looks right', 1, NULL);
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (18, 7, 'validated', 'executing', '2026-11-23 06:24:29.713264+05:30', 'w2', NULL, 1, NULL);
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (19, 7, 'executing', 'completed', '2026-11-23 06:24:29.726126+05:30', 'w2', NULL, 1, '{"record_id" : 3, "started_at" : "2026-11-23 00:54:29.713264", "completed_at" : "2026-11-23 00:54:29.722786", "success" : true, "error_message" : null, "result_data" : {"n":1.5}, "outcome" : "succeeded", "cancel_requested_at" : null, "cancel_requested_by" : null, "cancel_reason" : null, "stop_generation" : null}');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (20, 8, NULL, 'proposed', '2026-11-23 06:24:29.730895+05:30', 'agent', 'it hangs — 100 %', 1, '{"ticket_id" : null, "action_name" : "restart", "action_type" : "subject", "parameters" : {"host":1,"é":[1e+16,-0.0]}, "reason" : "it hangs — 100 %", "proposed_at" : "2026-10-01 12:00:00.000000", "proposed_by" : "agent"}');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (21, 8, 'proposed', 'validated', '2026-11-23 06:24:29.733387+05:30', 'ann', 'looks right', 1, NULL);
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (22, 8, 'validated', 'executing', '2026-11-23 06:24:29.737657+05:30', 'w2', NULL, 1, NULL);
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (23, 8, 'executing', 'failed', '2026-11-23 06:24:29.746683+05:30', 'w2', NULL, 1, '{"record_id" : 4, "started_at" : "2026-11-23 00:54:29.737657", "completed_at" : "2026-11-23 00:54:29.743756", "success" : false, "error_message" : null, "result_data" : {"n":1.5}, "outcome" : "failed", "cancel_requested_at" : null, "cancel_requested_by" : null, "cancel_reason" : null, "stop_generation" : null}');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (24, 9, NULL, 'proposed', '2026-11-23 06:24:29.748981+05:30', 'agent', 'it hangs — 100 %', 1, '{"ticket_id" : null, "action_name" : "restart", "action_type" : "subject", "parameters" : {"host":1,"é":[1e+16,-0.0]}, "reason" : "it hangs — 100 %", "proposed_at" : "2026-10-01 12:00:00.000000", "proposed_by" : "agent"}');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (25, 9, 'proposed', 'cancelled', '2026-11-23 06:24:29.751266+05:30', 'ann', 'no', 1, NULL);
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (26, 10, NULL, 'proposed', '2026-11-23 06:24:29.965025+05:30', 'agent', 'it hangs — 100 %', 2, '{"ticket_id" : 9, "action_name" : "restart", "action_type" : "subject", "parameters" : {"host":1,"é":[1e+16,-0.0]}, "reason" : "it hangs — 100 %", "proposed_at" : "2026-10-01 12:00:00.000000", "proposed_by" : "agent"}');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (27, 10, 'proposed', 'cancelled', '2026-11-23 06:24:29.965025+05:30', 'ann', 'hall 3', 2, NULL);
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (1, NULL, 'restart', 'subject', '{"host":1,"é":[1e+16,-0.0]}', 'it hangs — 100 %', 'cancelled', '2026-10-01 17:30:00+05:30', 'agent', 0, '2026-11-23 06:24:29.600445+05:30', 'ann', 'fire', '2026-11-23 06:24:29.457974+05:30', NULL, NULL, NULL, '2026-11-23 06:24:29.600445+05:30');
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (2, NULL, 'restart', 'subject', '{"host":1,"é":[1e+16,-0.0]}', 'it hangs — 100 %', 'cancelled', '2026-10-01 17:30:00+05:30', 'agent', 0, '2026-11-23 06:24:29.648394+05:30', 'w1', NULL, '2026-11-23 06:24:29.4858+05:30', '2026-11-23 06:24:29.505668+05:30', NULL, NULL, '2026-11-23 06:24:29.648394+05:30');
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (3, NULL, 'restart', 'subject', '{"host":1,"é":[1e+16,-0.0]}', 'it hangs — 100 %', 'cancelled', '2026-10-01 17:30:00+05:30', 'agent', 1, '2026-11-23 06:24:29.65609+05:30', 'ann', 'fire', NULL, NULL, NULL, NULL, '2026-11-23 06:24:29.65609+05:30');
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (4, 7, 'restart', 'subject', '{"host":1,"é":[1e+16,-0.0]}', 'it hangs — 100 %', 'proposed', '2026-10-01 17:30:00+05:30', 'agent', 1, '2026-11-23 06:24:29.675829+05:30', 'agent', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (5, 7, 'restart', 'subject', '{"host":1,"é":[1e+16,-0.0]}', 'it hangs — 100 %', 'validated', '2026-10-01 17:30:00+05:30', 'agent', 1, '2026-11-23 06:24:29.687925+05:30', 'ann', 'looks right', '2026-11-23 06:24:29.687925+05:30', NULL, NULL, NULL, NULL);
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (6, NULL, 'restart', 'subject', '{"host":1,"é":[1e+16,-0.0]}', 'it hangs — 100 %', 'executing', '2026-10-01 17:30:00+05:30', 'agent', 1, '2026-11-23 06:24:29.699398+05:30', 'w1', NULL, '2026-11-23 06:24:29.69409+05:30', '2026-11-23 06:24:29.699398+05:30', NULL, NULL, NULL);
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (7, NULL, 'restart', 'subject', '{"host":1,"é":[1e+16,-0.0]}', 'it hangs — 100 %', 'completed', '2026-10-01 17:30:00+05:30', 'agent', 1, '2026-11-23 06:24:29.726126+05:30', 'w2', NULL, '2026-11-23 06:24:29.707859+05:30', '2026-11-23 06:24:29.713264+05:30', '2026-11-23 06:24:29.726126+05:30', NULL, NULL);
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (8, NULL, 'restart', 'subject', '{"host":1,"é":[1e+16,-0.0]}', 'it hangs — 100 %', 'failed', '2026-10-01 17:30:00+05:30', 'agent', 1, '2026-11-23 06:24:29.746683+05:30', 'w2', NULL, '2026-11-23 06:24:29.733387+05:30', '2026-11-23 06:24:29.737657+05:30', NULL, '2026-11-23 06:24:29.746683+05:30', NULL);
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (9, NULL, 'restart', 'subject', '{"host":1,"é":[1e+16,-0.0]}', 'it hangs — 100 %', 'cancelled', '2026-10-01 17:30:00+05:30', 'agent', 1, '2026-11-23 06:24:29.751266+05:30', 'ann', 'no', NULL, NULL, NULL, NULL, '2026-11-23 06:24:29.751266+05:30');
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (10, 9, 'restart', 'subject', '{"host":1,"é":[1e+16,-0.0]}', 'it hangs — 100 %', 'cancelled', '2026-10-01 17:30:00+05:30', 'agent', 2, '2026-11-23 06:24:29.965025+05:30', 'ann', 'hall 3', NULL, NULL, NULL, NULL, '2026-11-23 06:24:29.965025+05:30');
INSERT INTO public.action_records OVERRIDING SYSTEM VALUE VALUES (1, 2, '2026-11-23 06:24:29.505668+05:30', '2026-11-23 06:24:29.643695+05:30', false, NULL, NULL, 'stopped', NULL, NULL, NULL, 1);
INSERT INTO public.action_records OVERRIDING SYSTEM VALUE VALUES (2, 6, '2026-11-23 06:24:29.699398+05:30', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.action_records OVERRIDING SYSTEM VALUE VALUES (3, 7, '2026-11-23 06:24:29.713264+05:30', '2026-11-23 06:24:29.722786+05:30', true, NULL, '{"n":1.5}', 'succeeded', NULL, NULL, NULL, NULL);
INSERT INTO public.action_records OVERRIDING SYSTEM VALUE VALUES (4, 8, '2026-11-23 06:24:29.737657+05:30', '2026-11-23 06:24:29.743756+05:30', false, NULL, '{"n":1.5}', 'failed', NULL, NULL, NULL, NULL);
INSERT INTO public.kill_switch VALUES ('everything', 1, '2026-11-23 06:24:29.58148+05:30', 'ann', 'fire', '2026-11-23 06:24:29.670466+05:30', 'ann', 'out');
INSERT INTO public.kill_switch VALUES ('ticket_id=9', 2, '2026-11-23 06:24:29.82329+05:30', 'ann', 'hall 3', NULL, NULL, NULL);
INSERT INTO public.kill_switch_events OVERRIDING SYSTEM VALUE VALUES (1, 1, 'everything', 'engaged', '2026-11-23 06:24:29.58148+05:30', 'ann', 'fire');
INSERT INTO public.kill_switch_events OVERRIDING SYSTEM VALUE VALUES (2, 1, 'everything', 'released', '2026-11-23 06:24:29.670466+05:30', 'ann', 'out');
INSERT INTO public.kill_switch_events OVERRIDING SYSTEM VALUE VALUES (3, 2, 'ticket_id=9', 'engaged', '2026-11-23 06:24:29.82329+05:30', 'ann', 'hall 3');
INSERT INTO public.operator_core_version VALUES ('0001');
SELECT pg_catalog.setval('public.action_events_id_seq', 27, true);
SELECT pg_catalog.setval('public.action_proposals_id_seq', 10, true);
SELECT pg_catalog.setval('public.action_prunes_id_seq', 1, false);
SELECT pg_catalog.setval('public.action_records_id_seq', 4, true);
SELECT pg_catalog.setval('public.kill_switch_events_id_seq', 3, true);
ALTER TABLE ONLY public.operator_core_version
    ADD CONSTRAINT operator_core_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.action_events
    ADD CONSTRAINT pk_action_events PRIMARY KEY (id);
ALTER TABLE ONLY public.action_proposals
    ADD CONSTRAINT pk_action_proposals PRIMARY KEY (id);
ALTER TABLE ONLY public.action_prunes
    ADD CONSTRAINT pk_action_prunes PRIMARY KEY (id);
ALTER TABLE ONLY public.action_records
    ADD CONSTRAINT pk_action_records PRIMARY KEY (id);
ALTER TABLE ONLY public.kill_switch
    ADD CONSTRAINT pk_kill_switch PRIMARY KEY (scope);
ALTER TABLE ONLY public.kill_switch_events
    ADD CONSTRAINT pk_kill_switch_events PRIMARY KEY (id);
ALTER TABLE ONLY public.action_events
    ADD CONSTRAINT uq_action_events_proposal_id_to_status UNIQUE (proposal_id, to_status);
ALTER TABLE ONLY public.action_records
    ADD CONSTRAINT uq_action_records_proposal_id UNIQUE (proposal_id);
ALTER TABLE ONLY public.kill_switch_events
    ADD CONSTRAINT uq_kill_switch_events_generation_change UNIQUE (generation, change);
ALTER TABLE ONLY public.kill_switch
    ADD CONSTRAINT uq_kill_switch_generation UNIQUE (generation);
CREATE INDEX ix_action_proposals_open ON public.action_proposals USING btree (status, id) WHERE ((status = 'proposed'::text) OR (status = 'validated'::text) OR (status = 'executing'::text));
CREATE INDEX ix_action_proposals_ticket_id ON public.action_proposals USING btree (ticket_id, id) WHERE (ticket_id IS NOT NULL);
CREATE INDEX ix_action_records_stop_generation ON public.action_records USING btree (stop_generation) WHERE (stop_generation IS NOT NULL);
CREATE TRIGGER operator_core_events_insert BEFORE INSERT ON public.action_events FOR EACH ROW EXECUTE FUNCTION public.operator_core_events_insert();
CREATE TRIGGER operator_core_events_keep BEFORE DELETE OR UPDATE ON public.action_events FOR EACH ROW EXECUTE FUNCTION public.operator_core_refuse_always();
CREATE TRIGGER operator_core_events_truncate BEFORE TRUNCATE ON public.action_events FOR EACH STATEMENT EXECUTE FUNCTION public.operator_core_refuse_always();
CREATE TRIGGER operator_core_kill_switch_change BEFORE INSERT OR UPDATE ON public.kill_switch FOR EACH ROW EXECUTE FUNCTION public.operator_core_kill_switch_change();
CREATE TRIGGER operator_core_kill_switch_counter BEFORE INSERT OR UPDATE ON public.kill_switch FOR EACH STATEMENT EXECUTE FUNCTION public.operator_core_kill_switch_counter();
CREATE TRIGGER operator_core_kill_switch_delete BEFORE DELETE ON public.kill_switch FOR EACH ROW EXECUTE FUNCTION public.operator_core_refuse_always();
CREATE TRIGGER operator_core_kill_switch_events_insert BEFORE INSERT ON public.kill_switch_events FOR EACH ROW EXECUTE FUNCTION public.operator_core_kill_switch_events_insert();
CREATE TRIGGER operator_core_kill_switch_events_keep BEFORE DELETE OR UPDATE ON public.kill_switch_events FOR EACH ROW EXECUTE FUNCTION public.operator_core_refuse_always();
CREATE TRIGGER operator_core_kill_switch_events_truncate BEFORE TRUNCATE ON public.kill_switch_events FOR EACH STATEMENT EXECUTE FUNCTION public.operator_core_refuse_always();
CREATE TRIGGER operator_core_kill_switch_truncate BEFORE TRUNCATE ON public.kill_switch FOR EACH STATEMENT EXECUTE FUNCTION public.operator_core_refuse_always();
CREATE TRIGGER operator_core_kill_switch_written AFTER INSERT OR UPDATE ON public.kill_switch FOR EACH ROW EXECUTE FUNCTION public.operator_core_write_kill_switch_event();
CREATE TRIGGER operator_core_proposals_delete BEFORE DELETE ON public.action_proposals FOR EACH ROW EXECUTE FUNCTION public.operator_core_proposals_delete();
CREATE TRIGGER operator_core_proposals_insert BEFORE INSERT ON public.action_proposals FOR EACH ROW EXECUTE FUNCTION public.operator_core_proposals_insert();
CREATE TRIGGER operator_core_proposals_truncate BEFORE TRUNCATE ON public.action_proposals FOR EACH STATEMENT EXECUTE FUNCTION public.operator_core_refuse_always();
CREATE TRIGGER operator_core_proposals_update BEFORE UPDATE ON public.action_proposals FOR EACH ROW EXECUTE FUNCTION public.operator_core_proposals_update();
CREATE TRIGGER operator_core_proposals_written AFTER INSERT OR UPDATE ON public.action_proposals FOR EACH ROW EXECUTE FUNCTION public.operator_core_write_event();
CREATE TRIGGER operator_core_prunes_keep BEFORE DELETE OR UPDATE ON public.action_prunes FOR EACH ROW EXECUTE FUNCTION public.operator_core_refuse_always();
CREATE TRIGGER operator_core_prunes_truncate BEFORE TRUNCATE ON public.action_prunes FOR EACH STATEMENT EXECUTE FUNCTION public.operator_core_refuse_always();
CREATE TRIGGER operator_core_records_delete BEFORE DELETE ON public.action_records FOR EACH ROW EXECUTE FUNCTION public.operator_core_records_delete();
CREATE TRIGGER operator_core_records_insert BEFORE INSERT ON public.action_records FOR EACH ROW EXECUTE FUNCTION public.operator_core_records_insert();
CREATE TRIGGER operator_core_records_truncate BEFORE TRUNCATE ON public.action_records FOR EACH STATEMENT EXECUTE FUNCTION public.operator_core_refuse_always();
CREATE TRIGGER operator_core_records_update BEFORE UPDATE ON public.action_records FOR EACH ROW EXECUTE FUNCTION public.operator_core_records_update();
ALTER TABLE ONLY public.action_records
    ADD CONSTRAINT fk_action_records_proposal_id_action_proposals FOREIGN KEY (proposal_id) REFERENCES public.action_proposals(id);
REVOKE ALL ON FUNCTION public.operator_core_events_insert() FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_kill_switch_change() FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_kill_switch_counter() FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_kill_switch_events_insert() FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_proposals_delete() FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_proposals_insert() FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_proposals_update() FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_records_delete() FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_records_insert() FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_records_update() FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_refuse_always() FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_write_event() FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_write_kill_switch_event() FROM PUBLIC;
