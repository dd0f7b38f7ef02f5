-- The guards of revision 0004, frozen; a line `-- next` stands between two statements.
CREATE OR REPLACE FUNCTION operator_core_proposals_insert() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET row_security=off AS $guard$
DECLARE
    stop RECORD;
BEGIN
    IF NEW.status NOT IN ('proposed', 'cancelled') THEN
        RAISE EXCEPTION 'OC001: this step is not in the table of steps' USING ERRCODE = 'OC001';
    END IF;
    SELECT (SELECT max(k.generation) FROM kill_switch AS k WHERE k.generation <= 9223372036854775806) AS counter, EXISTS (SELECT 1 FROM kill_switch AS k WHERE k.scope = 'everything') AS readable, s.* INTO stop
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
    IF NEW.retry_of IS NOT NULL AND NOT EXISTS (SELECT 1 FROM action_proposals AS o WHERE o.id = NEW.retry_of AND o.status IN ('completed', 'failed', 'cancelled')) THEN
        RAISE EXCEPTION 'OC009: only what is finished can be tried again' USING ERRCODE = 'OC009';
    END IF;
    NEW.generation := stop.counter;
    NEW.proposed_at := coalesce(NEW.proposed_at, clock_timestamp());
    NEW.proposed_by := coalesce(NEW.proposed_by, 'sql:' || session_user::text);
    NEW.status_at := coalesce(NEW.status_at, clock_timestamp());
    IF NEW.proposed_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR NEW.status_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR NEW.valid_until NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR octet_length(NEW."action_name") > 255 AND length(NEW."action_name") > 255 OR octet_length(NEW."reason") > 262144 AND length(NEW."reason") > 262144 OR octet_length(NEW."proposed_by") > 255 AND length(NEW."proposed_by") > 255 OR octet_length(NEW."idempotency_key") > 255 AND length(NEW."idempotency_key") > 255 OR octet_length(NEW."on_behalf_of") > 255 AND length(NEW."on_behalf_of") > 255 OR json_typeof(NEW.parameters) <> 'object' OR octet_length(NEW.parameters::text) > 262144 OR (NEW.parameters::text ~ E'\\\\u|[0-9][eE]' OR octet_length(NEW.parameters::text) > 309 AND NEW.parameters::text ~ '[0-9]{255}[0-9]{54}' OR octet_length(NEW.parameters::text) - octet_length(translate(NEW.parameters::text, '[{', '')) > 190) AND operator_core_json_unreadable(NEW.parameters::text) THEN
        RAISE EXCEPTION 'OC010: this could not be read back, so it is neither stored nor started' USING ERRCODE = 'OC010';
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
$guard$
-- next
CREATE OR REPLACE FUNCTION operator_core_proposals_update() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET row_security=off AS $guard$
BEGIN
    IF NEW.id IS DISTINCT FROM OLD.id OR NEW.ticket_id IS DISTINCT FROM OLD.ticket_id OR NEW.action_name IS DISTINCT FROM OLD.action_name OR NEW.action_type IS DISTINCT FROM OLD.action_type OR NEW.reason IS DISTINCT FROM OLD.reason OR NEW.proposed_at IS DISTINCT FROM OLD.proposed_at OR NEW.proposed_by IS DISTINCT FROM OLD.proposed_by OR NEW.generation IS DISTINCT FROM OLD.generation OR NEW.valid_until IS DISTINCT FROM OLD.valid_until OR NEW.retry_of IS DISTINCT FROM OLD.retry_of OR NEW.idempotency_key IS DISTINCT FROM OLD.idempotency_key OR NEW.on_behalf_of IS DISTINCT FROM OLD.on_behalf_of OR NEW.parameters::text IS DISTINCT FROM OLD.parameters::text THEN
        RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
    END IF;
    IF NOT ((OLD.status = 'proposed' AND (NEW.status = 'validated' OR NEW.status = 'cancelled')) OR (OLD.status = 'validated' AND (NEW.status = 'executing' OR NEW.status = 'cancelled')) OR (OLD.status = 'executing' AND (NEW.status = 'completed' OR NEW.status = 'failed' OR NEW.status = 'cancelled'))) THEN
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
    IF NEW.status_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR octet_length(NEW."status_by") > 255 AND length(NEW."status_by") > 255 OR octet_length(NEW."status_reason") > 262144 AND length(NEW."status_reason") > 262144 THEN
        RAISE EXCEPTION 'OC010: this could not be read back, so it is neither stored nor started' USING ERRCODE = 'OC010';
    END IF;
    IF NEW.status = 'executing' THEN
        IF NEW.valid_until <= clock_timestamp() THEN
            RAISE EXCEPTION 'OC008: its time to start is over' USING ERRCODE = 'OC008';
        END IF;
        IF current_setting('transaction_isolation') <> 'read committed' THEN
            RAISE EXCEPTION 'OC004: actions are started under READ COMMITTED only' USING ERRCODE = 'OC004';
        END IF;
    IF octet_length(NEW."action_name") > 255 AND length(NEW."action_name") > 255 OR octet_length(NEW."reason") > 262144 AND length(NEW."reason") > 262144 OR octet_length(NEW."proposed_by") > 255 AND length(NEW."proposed_by") > 255 OR octet_length(NEW."idempotency_key") > 255 AND length(NEW."idempotency_key") > 255 OR octet_length(NEW."on_behalf_of") > 255 AND length(NEW."on_behalf_of") > 255 OR json_typeof(NEW.parameters) <> 'object' OR octet_length(NEW.parameters::text) > 262144 OR (NEW.parameters::text ~ E'\\\\u|[0-9][eE]' OR octet_length(NEW.parameters::text) > 309 AND NEW.parameters::text ~ '[0-9]{255}[0-9]{54}' OR octet_length(NEW.parameters::text) - octet_length(translate(NEW.parameters::text, '[{', '')) > 190) AND operator_core_json_unreadable(NEW.parameters::text) THEN
        RAISE EXCEPTION 'OC010: this could not be read back, so it is neither stored nor started' USING ERRCODE = 'OC010';
    END IF;
        PERFORM pg_try_advisory_xact_lock_shared(8030029677537292146);
        BEGIN
            LOCK TABLE kill_switch_barrier IN ROW SHARE MODE NOWAIT;
        EXCEPTION WHEN lock_not_available THEN
            -- A stop waits for its barrier: if it is published it is seen here, without queueing behind it.
            IF EXISTS (SELECT 1 FROM kill_switch AS k WHERE k.scope IN ('everything', 'action_type=' || CAST(NEW.action_type AS TEXT), 'action_name=' || CAST(NEW.action_name AS TEXT), 'proposed_by=' || CAST(NEW.proposed_by AS TEXT), 'ticket_id=' || CAST(NEW.ticket_id AS TEXT)) AND (k.engaged_at IS NOT NULL AND k.released_at IS NULL OR k.generation > NEW.generation)) THEN
                RAISE EXCEPTION 'OC003: the kill switch bars this' USING ERRCODE = 'OC003';
            END IF;
            LOCK TABLE kill_switch_barrier IN ROW SHARE MODE;
        END;
        -- In a new statement: only its snapshot is younger than the lock.
        IF NOT EXISTS (SELECT 1 FROM kill_switch AS k WHERE k.scope = 'everything') OR EXISTS (SELECT 1 FROM kill_switch AS k WHERE k.scope IN ('everything', 'action_type=' || CAST(NEW.action_type AS TEXT), 'action_name=' || CAST(NEW.action_name AS TEXT), 'proposed_by=' || CAST(NEW.proposed_by AS TEXT), 'ticket_id=' || CAST(NEW.ticket_id AS TEXT)) AND (k.engaged_at IS NOT NULL AND k.released_at IS NULL OR k.generation > NEW.generation)) THEN
            IF NOT EXISTS (SELECT 1 FROM kill_switch AS k WHERE k.scope = 'everything') THEN
                RAISE EXCEPTION 'OC005: the latch cannot be read, so nothing is proposed or started' USING ERRCODE = 'OC005';
            END IF;
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
$guard$
-- next
CREATE OR REPLACE FUNCTION operator_core_proposals_delete() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $guard$
BEGIN
    IF OLD.status NOT IN ('completed', 'failed', 'cancelled') OR EXISTS (SELECT 1 FROM action_records AS r WHERE r.proposal_id = OLD.id) OR NOT EXISTS (SELECT 1 FROM action_prunes AS q WHERE q."before" > OLD.status_at AND q."before" > coalesce((SELECT max(e.recorded_at) FROM action_events AS e WHERE e.proposal_id = OLD.id), OLD.status_at)) THEN
        RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
    END IF;
    RETURN OLD;
END
$guard$
-- next
CREATE OR REPLACE FUNCTION operator_core_records_insert() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $guard$
BEGIN
    IF NEW.completed_at IS NOT NULL OR NOT EXISTS (SELECT 1 FROM action_proposals AS p WHERE p.id = NEW.proposal_id AND p.status = 'executing') THEN
        RAISE EXCEPTION 'OC006: the record does not allow this' USING ERRCODE = 'OC006';
    END IF;
    IF NEW.started_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR NEW.completed_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR NEW.cancel_requested_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR NEW.last_seen_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR NEW.lease_expires_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR NEW.finding_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR octet_length(NEW."error_message") > 262144 AND length(NEW."error_message") > 262144 OR octet_length(NEW."cancel_requested_by") > 255 AND length(NEW."cancel_requested_by") > 255 OR octet_length(NEW."cancel_reason") > 262144 AND length(NEW."cancel_reason") > 262144 OR octet_length(NEW."worker") > 255 AND length(NEW."worker") > 255 OR octet_length(NEW."claim_key") > 255 AND length(NEW."claim_key") > 255 OR octet_length(NEW."finding_by") > 255 AND length(NEW."finding_by") > 255 OR octet_length(NEW."finding_reason") > 262144 AND length(NEW."finding_reason") > 262144 OR json_typeof(NEW.result_data) <> 'object' OR octet_length(NEW.result_data::text) > 1048576 OR (NEW.result_data::text ~ E'\\\\u|[0-9][eE]' OR octet_length(NEW.result_data::text) > 309 AND NEW.result_data::text ~ '[0-9]{255}[0-9]{54}' OR octet_length(NEW.result_data::text) - octet_length(translate(NEW.result_data::text, '[{', '')) > 190) AND operator_core_json_unreadable(NEW.result_data::text) OR NOT (NEW.lease_seconds > 0 AND NEW.lease_seconds <= 86400) THEN
        RAISE EXCEPTION 'OC010: this could not be read back, so it is neither stored nor started' USING ERRCODE = 'OC010';
    END IF;
    RETURN NEW;
END
$guard$
-- next
CREATE OR REPLACE FUNCTION operator_core_records_update() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET row_security=off AS $guard$
BEGIN
    IF OLD.completed_at IS NOT NULL AND NOT (OLD.outcome = 'unknown' AND OLD.finding IS NULL AND NEW.finding IS NOT NULL AND NOT (NEW.id IS DISTINCT FROM OLD.id OR NEW.proposal_id IS DISTINCT FROM OLD.proposal_id OR NEW.started_at IS DISTINCT FROM OLD.started_at OR NEW.completed_at IS DISTINCT FROM OLD.completed_at OR NEW.success IS DISTINCT FROM OLD.success OR NEW.error_message IS DISTINCT FROM OLD.error_message OR NEW.outcome IS DISTINCT FROM OLD.outcome OR NEW.cancel_requested_at IS DISTINCT FROM OLD.cancel_requested_at OR NEW.cancel_requested_by IS DISTINCT FROM OLD.cancel_requested_by OR NEW.cancel_reason IS DISTINCT FROM OLD.cancel_reason OR NEW.stop_generation IS DISTINCT FROM OLD.stop_generation OR NEW.worker IS DISTINCT FROM OLD.worker OR NEW.lease_seconds IS DISTINCT FROM OLD.lease_seconds OR NEW.last_seen_at IS DISTINCT FROM OLD.last_seen_at OR NEW.lease_expires_at IS DISTINCT FROM OLD.lease_expires_at OR NEW.claim_key IS DISTINCT FROM OLD.claim_key OR NEW.result_data::text IS DISTINCT FROM OLD.result_data::text)) OR NEW.id IS DISTINCT FROM OLD.id OR NEW.proposal_id IS DISTINCT FROM OLD.proposal_id OR NEW.started_at IS DISTINCT FROM OLD.started_at OR NEW.worker IS DISTINCT FROM OLD.worker OR NEW.lease_seconds IS DISTINCT FROM OLD.lease_seconds OR NEW.claim_key IS DISTINCT FROM OLD.claim_key THEN
        RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
    END IF;
    IF OLD.completed_at IS NULL AND NEW.finding IS NOT NULL THEN
        RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
    END IF;
    IF OLD.cancel_requested_at IS NOT NULL AND (NEW.cancel_requested_at IS DISTINCT FROM OLD.cancel_requested_at OR NEW.cancel_requested_by IS DISTINCT FROM OLD.cancel_requested_by OR NEW.cancel_reason IS DISTINCT FROM OLD.cancel_reason) THEN
        RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
    END IF;
    IF OLD.completed_at IS NULL AND NEW.completed_at IS NOT NULL THEN
        NEW.stop_generation := (SELECT max(k.generation) FROM action_proposals AS p JOIN kill_switch AS k ON k.scope IN ('everything', 'action_type=' || CAST(p.action_type AS TEXT), 'action_name=' || CAST(p.action_name AS TEXT), 'proposed_by=' || CAST(p.proposed_by AS TEXT), 'ticket_id=' || CAST(p.ticket_id AS TEXT)) AND k.generation > p.generation WHERE p.id = NEW.proposal_id);
    END IF;
    IF NEW.outcome = 'stopped' AND NEW.cancel_requested_at IS NULL AND NEW.stop_generation IS NULL THEN
        RAISE EXCEPTION 'OC006: the record does not allow this' USING ERRCODE = 'OC006';
    END IF;
    IF NEW.started_at IS DISTINCT FROM OLD.started_at AND NEW.started_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR NEW.completed_at IS DISTINCT FROM OLD.completed_at AND NEW.completed_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR NEW.cancel_requested_at IS DISTINCT FROM OLD.cancel_requested_at AND NEW.cancel_requested_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR NEW.last_seen_at IS DISTINCT FROM OLD.last_seen_at AND NEW.last_seen_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR NEW.lease_expires_at IS DISTINCT FROM OLD.lease_expires_at AND NEW.lease_expires_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR NEW.finding_at IS DISTINCT FROM OLD.finding_at AND NEW.finding_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR NEW."error_message"::text IS DISTINCT FROM OLD."error_message"::text AND (octet_length(NEW."error_message") > 262144 AND length(NEW."error_message") > 262144) OR NEW."cancel_requested_by"::text IS DISTINCT FROM OLD."cancel_requested_by"::text AND (octet_length(NEW."cancel_requested_by") > 255 AND length(NEW."cancel_requested_by") > 255) OR NEW."cancel_reason"::text IS DISTINCT FROM OLD."cancel_reason"::text AND (octet_length(NEW."cancel_reason") > 262144 AND length(NEW."cancel_reason") > 262144) OR NEW."worker"::text IS DISTINCT FROM OLD."worker"::text AND (octet_length(NEW."worker") > 255 AND length(NEW."worker") > 255) OR NEW."claim_key"::text IS DISTINCT FROM OLD."claim_key"::text AND (octet_length(NEW."claim_key") > 255 AND length(NEW."claim_key") > 255) OR NEW."finding_by"::text IS DISTINCT FROM OLD."finding_by"::text AND (octet_length(NEW."finding_by") > 255 AND length(NEW."finding_by") > 255) OR NEW."finding_reason"::text IS DISTINCT FROM OLD."finding_reason"::text AND (octet_length(NEW."finding_reason") > 262144 AND length(NEW."finding_reason") > 262144) OR NEW."result_data"::text IS DISTINCT FROM OLD."result_data"::text AND (json_typeof(NEW.result_data) <> 'object' OR octet_length(NEW.result_data::text) > 1048576 OR (NEW.result_data::text ~ E'\\\\u|[0-9][eE]' OR octet_length(NEW.result_data::text) > 309 AND NEW.result_data::text ~ '[0-9]{255}[0-9]{54}' OR octet_length(NEW.result_data::text) - octet_length(translate(NEW.result_data::text, '[{', '')) > 190) AND operator_core_json_unreadable(NEW.result_data::text)) OR NEW."lease_seconds"::text IS DISTINCT FROM OLD."lease_seconds"::text AND (NOT (NEW.lease_seconds > 0 AND NEW.lease_seconds <= 86400)) THEN
        RAISE EXCEPTION 'OC010: this could not be read back, so it is neither stored nor started' USING ERRCODE = 'OC010';
    END IF;
    RETURN NEW;
END
$guard$
-- next
CREATE OR REPLACE FUNCTION operator_core_records_delete() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $guard$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM action_proposals AS p JOIN action_prunes AS q ON q."before" > p.status_at AND q."before" > coalesce((SELECT max(e.recorded_at) FROM action_events AS e WHERE e.proposal_id = p.id), p.status_at) WHERE p.id = OLD.proposal_id AND p.status IN ('completed', 'failed', 'cancelled')) OR OLD.outcome = 'unknown' AND OLD.finding IS NULL THEN
        RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
    END IF;
    RETURN OLD;
END
$guard$
-- next
CREATE OR REPLACE FUNCTION operator_core_events_keep() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $guard$
BEGIN
    IF TG_OP <> 'DELETE' OR EXISTS (SELECT 1 FROM action_proposals AS p WHERE p.id = OLD.proposal_id) OR NOT EXISTS (SELECT 1 FROM action_prunes AS q WHERE NOT q.keep_events AND q."before" > OLD.at AND q."before" > coalesce((SELECT max(e.recorded_at) FROM action_events AS e WHERE e.proposal_id = OLD.proposal_id), OLD.at) AND q."before" > coalesce((SELECT max(e.at) FROM action_events AS e WHERE e.proposal_id = OLD.proposal_id), OLD.at)) THEN
        RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
    END IF;
    RETURN OLD;
END
$guard$
-- next
CREATE OR REPLACE FUNCTION operator_core_notes_insert() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $guard$
BEGIN
    IF NEW.kind <> 'reported_late' AND pg_trigger_depth() < 2 OR NOT EXISTS (SELECT 1 FROM action_records AS r JOIN action_proposals AS p ON p.id = r.proposal_id WHERE r.id = NEW.record_id AND p.id = NEW.proposal_id AND p.status = NEW.status AND (NEW.kind = 'reported_late' AND r.completed_at IS NOT NULL OR NEW.kind = 'cancel_requested' AND r.cancel_requested_at = NEW.at OR NEW.kind = 'resolved' AND r.finding_at = NEW.at)) THEN
        RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
    END IF;
    IF NEW.at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR octet_length(NEW."by") > 255 AND length(NEW."by") > 255 OR octet_length(NEW."reason") > 262144 AND length(NEW."reason") > 262144 OR json_typeof(NEW.data) <> 'object' OR octet_length(NEW.data::text) > 2097152 OR (NEW.data::text ~ E'\\\\u|[0-9][eE]' OR octet_length(NEW.data::text) > 309 AND NEW.data::text ~ '[0-9]{255}[0-9]{54}' OR octet_length(NEW.data::text) - octet_length(translate(NEW.data::text, '[{', '')) > 190) AND operator_core_json_unreadable(NEW.data::text) THEN
        RAISE EXCEPTION 'OC010: this could not be read back, so it is neither stored nor started' USING ERRCODE = 'OC010';
    END IF;
    RETURN NEW;
END
$guard$
-- next
CREATE OR REPLACE FUNCTION operator_core_prunes_insert() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $guard$
BEGIN
    IF NEW.before NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR NEW.at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR octet_length(NEW."by") > 255 AND length(NEW."by") > 255 OR octet_length(NEW."reason") > 262144 AND length(NEW."reason") > 262144 THEN
        RAISE EXCEPTION 'OC010: this could not be read back, so it is neither stored nor started' USING ERRCODE = 'OC010';
    END IF;
    IF NEW.before > clock_timestamp() + interval '1 day' THEN
        RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
    END IF;
    RETURN NEW;
END
$guard$
-- next
CREATE OR REPLACE FUNCTION operator_core_kill_switch_counter() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $guard$
BEGIN
    -- Before any other row is locked, so that two stops at once queue instead of meeting crosswise.
    PERFORM FROM kill_switch AS k WHERE k.scope = 'everything' FOR NO KEY UPDATE;
    RETURN NULL;
END
$guard$
-- next
CREATE OR REPLACE FUNCTION operator_core_kill_switch_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $guard$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.released_at IS NOT NULL THEN
        IF OLD.engaged_at IS NULL OR OLD.released_at IS NOT NULL OR NEW.scope IS DISTINCT FROM OLD.scope OR NEW.generation IS DISTINCT FROM OLD.generation OR NEW.engaged_at IS DISTINCT FROM OLD.engaged_at OR NEW.engaged_by IS DISTINCT FROM OLD.engaged_by OR NEW.reason IS DISTINCT FROM OLD.reason THEN
            RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
        END IF;
    ELSE
        IF NEW.released_at IS NOT NULL OR (TG_OP = 'UPDATE' AND NEW.scope <> OLD.scope) THEN
            RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
        END IF;
    IF NOT (NEW.scope = 'everything' OR NEW.scope IN ('action_type=subject', 'action_type=tool', 'action_type=workflow') OR substr(NEW.scope, 1, 12) IN ('action_name=', 'proposed_by=') AND length(NEW.scope) BETWEEN 13 AND 267 AND NOT (btrim(substr(NEW.scope, 13), chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(28) || chr(29) || chr(30) || chr(31) || chr(32) || chr(133) || chr(160) || chr(5760) || chr(8192) || chr(8193) || chr(8194) || chr(8195) || chr(8196) || chr(8197) || chr(8198) || chr(8199) || chr(8200) || chr(8201) || chr(8202) || chr(8232) || chr(8233) || chr(8239) || chr(8287) || chr(12288)) = '') OR substr(NEW.scope, 1, 10) = 'ticket_id=' AND CASE WHEN substr(NEW.scope, 11) ~ '^(0|-?[1-9][0-9]{0,18})$' THEN substr(NEW.scope, 11)::numeric BETWEEN -9223372036854775808 AND 9223372036854775807 ELSE false END) THEN
        RAISE EXCEPTION 'OC007: a scope is everything, action_type=, action_name=, proposed_by= or ticket_id= with a value' USING ERRCODE = 'OC007';
    END IF;
        NEW.generation := (SELECT max(n.generation) + 1 FROM (SELECT max(k.generation) AS generation FROM kill_switch AS k WHERE k.generation <= 9223372036854775806 UNION ALL SELECT max(e.generation) FROM kill_switch_events AS e WHERE e.generation <= 9223372036854775806) AS n);
        NEW.engaged_at := coalesce(NEW.engaged_at, clock_timestamp());
        NEW.engaged_by := coalesce(NEW.engaged_by, 'sql:' || session_user::text);
    END IF;
    IF NEW.engaged_at IS DISTINCT FROM OLD.engaged_at AND NEW.engaged_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR NEW.released_at IS DISTINCT FROM OLD.released_at AND NEW.released_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR NEW."engaged_by"::text IS DISTINCT FROM OLD."engaged_by"::text AND (octet_length(NEW."engaged_by") > 255 AND length(NEW."engaged_by") > 255) OR NEW."reason"::text IS DISTINCT FROM OLD."reason"::text AND (octet_length(NEW."reason") > 262144 AND length(NEW."reason") > 262144) OR NEW."released_by"::text IS DISTINCT FROM OLD."released_by"::text AND (octet_length(NEW."released_by") > 255 AND length(NEW."released_by") > 255) OR NEW."release_reason"::text IS DISTINCT FROM OLD."release_reason"::text AND (octet_length(NEW."release_reason") > 262144 AND length(NEW."release_reason") > 262144) THEN
        RAISE EXCEPTION 'OC010: this could not be read back, so it is neither stored nor started' USING ERRCODE = 'OC010';
    END IF;
    RETURN NEW;
END
$guard$
-- next
CREATE OR REPLACE FUNCTION operator_core_refuse_always() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $guard$
BEGIN
    RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
END
$guard$
-- next
CREATE OR REPLACE FUNCTION operator_core_events_insert() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $guard$
BEGIN
    -- 1 is a client's own statement; the triggers that write history insert at 2.
    IF pg_trigger_depth() < 2 OR NOT EXISTS (SELECT 1 FROM action_proposals AS p WHERE p.id = NEW.proposal_id AND p.status_at = NEW.at AND (NEW.from_status IS NULL AND NEW.to_status = 'proposed' OR NEW.from_status IS NOT NULL AND p.status = NEW.to_status) AND coalesce((SELECT e.to_status FROM action_events AS e WHERE e.proposal_id = p.id ORDER BY e.id + 0 DESC LIMIT 1), '') = coalesce(NEW.from_status, '')) THEN
        RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
    END IF;
    NEW.recorded_at := clock_timestamp();
    RETURN NEW;
END
$guard$
-- next
CREATE OR REPLACE FUNCTION operator_core_kill_switch_events_insert() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $guard$
BEGIN
    -- 1 is a client's own statement; the triggers that write history insert at 2.
    IF pg_trigger_depth() < 2 OR NOT EXISTS (SELECT 1 FROM kill_switch AS k WHERE k.scope = NEW.scope AND k.generation = NEW.generation AND k.engaged_at IS NOT NULL AND (k.released_at IS NULL) = (NEW.change = 'engaged') AND CASE WHEN k.released_at IS NULL THEN k.engaged_at ELSE k.released_at END = NEW.at) THEN
        RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
    END IF;
    RETURN NEW;
END
$guard$
-- next
CREATE OR REPLACE FUNCTION operator_core_write_event() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET extra_float_digits=1 SET row_security=off SET plan_cache_mode=force_generic_plan AS $guard$
DECLARE
    kept RECORD;
    rule RECORD;
    rules integer := 0;
    covering text;
    policy_version bigint;
    refused boolean := false;
    used bigint[] := ARRAY[]::bigint[];
    evidence json;
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO action_events AS e (proposal_id, from_status, to_status, at, by, reason, generation, data)
        VALUES (NEW.id, NULL, 'proposed', NEW.status_at, NEW.proposed_by, NEW.reason, NEW.generation,
            json_build_object('ticket_id', NEW.ticket_id, 'action_name', NEW.action_name, 'action_type', NEW.action_type, 'parameters', NEW.parameters, 'reason', NEW.reason, 'proposed_at', to_char(NEW.proposed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), 'proposed_by', NEW.proposed_by, 'valid_until', to_char(NEW.valid_until AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), 'retry_of', NEW.retry_of, 'idempotency_key', NEW.idempotency_key, 'on_behalf_of', NEW.on_behalf_of))
        RETURNING e.proposal_id, e.to_status INTO kept;
    IF kept.proposal_id IS DISTINCT FROM NEW.id OR kept.to_status IS DISTINCT FROM 'proposed' THEN
        RAISE EXCEPTION 'OC011: the history does not take this step: something swallows its events' USING ERRCODE = 'OC011';
    END IF;
        IF NEW.status <> 'proposed' THEN
            INSERT INTO action_events AS e (proposal_id, from_status, to_status, at, by, reason, generation, data)
            VALUES (NEW.id, 'proposed', NEW.status, NEW.status_at, NEW.status_by, NEW.status_reason,
                NEW.generation, NULL)
        RETURNING e.proposal_id, e.to_status INTO kept;
    IF kept.proposal_id IS DISTINCT FROM NEW.id OR kept.to_status IS DISTINCT FROM NEW.status THEN
        RAISE EXCEPTION 'OC011: the history does not take this step: something swallows its events' USING ERRCODE = 'OC011';
    END IF;
        END IF;
    ELSIF OLD.status = 'executing' THEN
        INSERT INTO action_events AS e (proposal_id, from_status, to_status, at, by, reason, generation, data)
        SELECT NEW.id, OLD.status, NEW.status, NEW.status_at, NEW.status_by, NEW.status_reason, (SELECT max(k.generation) FROM kill_switch AS k WHERE k.generation <= 9223372036854775806),
            json_build_object('record_id', r.id, 'started_at', to_char(r.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), 'completed_at', to_char(r.completed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), 'success', r.success, 'error_message', r.error_message, 'result_data', r.result_data, 'outcome', r.outcome, 'cancel_requested_at', to_char(r.cancel_requested_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), 'cancel_requested_by', r.cancel_requested_by, 'cancel_reason', r.cancel_reason, 'stop_generation', r.stop_generation, 'worker', r.worker, 'lease_seconds', r.lease_seconds, 'last_seen_at', to_char(r.last_seen_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), 'lease_expires_at', to_char(r.lease_expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), 'claim_key', r.claim_key)
        FROM action_records AS r WHERE r.proposal_id = NEW.id
        RETURNING e.proposal_id, e.to_status INTO kept;
    IF kept.proposal_id IS DISTINCT FROM NEW.id OR kept.to_status IS DISTINCT FROM NEW.status THEN
        RAISE EXCEPTION 'OC011: the history does not take this step: something swallows its events' USING ERRCODE = 'OC011';
    END IF;
    ELSE
        IF NEW.status IN ('validated', 'executing') AND ((SELECT 1 FROM action_approvals AS d WHERE d.proposal_id = NEW.id LIMIT 1) IS NOT NULL OR EXISTS (SELECT 1 FROM approval_policies AS g WHERE g.in_force)) THEN
            FOR rule IN
                SELECT c.scope, g.approvals, n.given, n.ids, (SELECT 1 FROM action_approvals AS d WHERE d.proposal_id = NEW.id AND d.decision = 'rejected' LIMIT 1) IS NOT NULL AS rejected,
                    (SELECT max(h.version) FROM approval_policies AS h WHERE h.scope = c.scope) AS version
                FROM (SELECT CASE WHEN EXISTS (SELECT 1 FROM approval_policies AS g WHERE g.in_force AND g.scope = 'action_name=' || CAST(NEW.action_name AS TEXT)) THEN 'action_name=' || CAST(NEW.action_name AS TEXT) WHEN EXISTS (SELECT 1 FROM approval_policies AS g WHERE g.in_force AND g.scope = 'everything') THEN 'everything' END AS scope OFFSET 0) AS c
                JOIN approval_policies AS g ON g.in_force AND g.scope = c.scope
                CROSS JOIN LATERAL (SELECT count(DISTINCT d."by") AS given, array_agg(d.id ORDER BY d.id) AS ids
                    FROM action_approvals AS d WHERE d.proposal_id = NEW.id AND d.decision = 'approved' AND (g.role = '' OR d.role = g.role) AND (NOT g.humans_only OR d.kind = 'human') AND (g.four_eyes = 'no' OR d."by" <> NEW.proposed_by) AND (g.four_eyes <> 'principal' OR d."by" <> NEW.on_behalf_of) AND (d.expires_at IS NULL OR d.expires_at > clock_timestamp()) AND (g.expires_seconds IS NULL OR d.at + make_interval(secs => g.expires_seconds) > clock_timestamp()) AND NOT EXISTS (SELECT 1 FROM action_approvals AS v JOIN action_approvals AS r ON r.id = v.revokes WHERE v.proposal_id = d.proposal_id AND v.id > d.id AND r."by" = d."by")) AS n
            LOOP
                refused := refused OR rule.rejected OR rule.given < rule.approvals;
                rules := rules + 1;
                covering := rule.scope;
                policy_version := rule.version;
                used := used || rule.ids;
            END LOOP;
            IF rules = 0 THEN
                refused := (SELECT 1 FROM action_approvals AS d WHERE d.proposal_id = NEW.id AND d.decision = 'rejected' LIMIT 1) IS NOT NULL OR (SELECT 1 FROM action_approvals AS d WHERE d.proposal_id = NEW.id LIMIT 1) IS NOT NULL AND NOT (SELECT 1 FROM action_approvals AS d WHERE d.proposal_id = NEW.id AND d.decision = 'approved' AND d.kind <> 'agent' AND (d.expires_at IS NULL OR d.expires_at > clock_timestamp()) AND NOT EXISTS (SELECT 1 FROM action_approvals AS v JOIN action_approvals AS r ON r.id = v.revokes WHERE v.proposal_id = d.proposal_id AND v.id > d.id AND r."by" = d."by") LIMIT 1) IS NOT NULL;
            ELSIF rules > 1 THEN
                used := ARRAY(SELECT DISTINCT id FROM unnest(used) AS id ORDER BY id);
            END IF;
            IF refused THEN
                RAISE EXCEPTION 'OC013: it lacks approvals that its policy asks for, or was rejected' USING ERRCODE = 'OC013';
            ELSIF NEW.status = 'executing' AND rules > 0 THEN
                evidence := json_build_object(
                    'policy', covering, 'version', policy_version, 'approvals', to_json(used));
            END IF;
        END IF;
        INSERT INTO action_events AS e (proposal_id, from_status, to_status, at, by, reason, generation, data)
        VALUES (NEW.id, OLD.status, NEW.status, NEW.status_at, NEW.status_by, NEW.status_reason, (SELECT max(k.generation) FROM kill_switch AS k WHERE k.generation <= 9223372036854775806), evidence)
        RETURNING e.proposal_id, e.to_status INTO kept;
    IF kept.proposal_id IS DISTINCT FROM NEW.id OR kept.to_status IS DISTINCT FROM NEW.status THEN
        RAISE EXCEPTION 'OC011: the history does not take this step: something swallows its events' USING ERRCODE = 'OC011';
    END IF;
    END IF;
    RETURN NULL;
END
$guard$
-- next
CREATE OR REPLACE FUNCTION operator_core_write_note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $guard$
DECLARE
    kept RECORD;
BEGIN
    IF OLD.cancel_requested_at IS NULL AND NEW.cancel_requested_at IS NOT NULL THEN
        INSERT INTO action_notes AS n (proposal_id, record_id, kind, status, at, by, reason, generation, data)
        VALUES (NEW.proposal_id, NEW.id, 'cancel_requested', (SELECT p.status FROM action_proposals AS p WHERE p.id = NEW.proposal_id), NEW.cancel_requested_at,
            NEW.cancel_requested_by, NEW.cancel_reason, (SELECT max(k.generation) FROM kill_switch AS k WHERE k.generation <= 9223372036854775806), NULL)
        RETURNING n.record_id, n.kind INTO kept;
    IF kept.record_id IS DISTINCT FROM NEW.id OR kept.kind IS DISTINCT FROM 'cancel_requested' THEN
        RAISE EXCEPTION 'OC011: the history does not take this step: something swallows its events' USING ERRCODE = 'OC011';
    END IF;
    END IF;
    IF OLD.finding IS NULL AND NEW.finding IS NOT NULL THEN
        INSERT INTO action_notes AS n (proposal_id, record_id, kind, status, at, by, reason, generation, data)
        VALUES (NEW.proposal_id, NEW.id, 'resolved', (SELECT p.status FROM action_proposals AS p WHERE p.id = NEW.proposal_id), NEW.finding_at,
            NEW.finding_by, NEW.finding_reason, (SELECT max(k.generation) FROM kill_switch AS k WHERE k.generation <= 9223372036854775806), json_build_object('finding', NEW.finding))
        RETURNING n.record_id, n.kind INTO kept;
    IF kept.record_id IS DISTINCT FROM NEW.id OR kept.kind IS DISTINCT FROM 'resolved' THEN
        RAISE EXCEPTION 'OC011: the history does not take this step: something swallows its events' USING ERRCODE = 'OC011';
    END IF;
    END IF;
    RETURN NULL;
END
$guard$
-- next
CREATE OR REPLACE FUNCTION operator_core_write_kill_switch_event() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $guard$
DECLARE
    kept RECORD;
BEGIN
    IF NEW.released_at IS NULL THEN
        INSERT INTO kill_switch_events AS e (generation, scope, change, at, by, reason)
        VALUES (NEW.generation, NEW.scope, 'engaged', NEW.engaged_at, NEW.engaged_by, NEW.reason)
        RETURNING e.generation, e.change INTO kept;
    IF kept.generation IS DISTINCT FROM NEW.generation OR kept.change IS DISTINCT FROM 'engaged' THEN
        RAISE EXCEPTION 'OC011: the history does not take this step: something swallows its events' USING ERRCODE = 'OC011';
    END IF;
    ELSE
        INSERT INTO kill_switch_events AS e (generation, scope, change, at, by, reason)
        VALUES (NEW.generation, NEW.scope, 'released', NEW.released_at, NEW.released_by, NEW.release_reason)
        RETURNING e.generation, e.change INTO kept;
    IF kept.generation IS DISTINCT FROM NEW.generation OR kept.change IS DISTINCT FROM 'released' THEN
        RAISE EXCEPTION 'OC011: the history does not take this step: something swallows its events' USING ERRCODE = 'OC011';
    END IF;
    END IF;
    RETURN NULL;
END
$guard$
-- next
CREATE OR REPLACE FUNCTION operator_core_approvals_insert() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET row_security=off SET plan_cache_mode=force_generic_plan AS $guard$
DECLARE
    proposal RECORD;
BEGIN
    -- Behind every step of the proposal that has begun: the decision sees it, or it sees the decision.
    SELECT p.* INTO proposal FROM action_proposals AS p WHERE p.id = NEW.proposal_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'OC014: this decision comes too late, or contradicts what is stored' USING ERRCODE = 'OC014';
    END IF;
    NEW.at := clock_timestamp();
    NEW."by" := coalesce(NEW."by", 'sql:' || session_user::text);
    NEW.kind := coalesce(NEW.kind, 'human');
    NEW.login := session_user::text;
    NEW.status := proposal.status;
    NEW.generation := (SELECT max(k.generation) FROM kill_switch AS k WHERE k.generation <= 9223372036854775806);
    IF NOT (NEW.replaced_by IS NULL AND (proposal.status = 'proposed' OR proposal.status = 'validated') OR NEW.replaced_by IS NOT NULL AND proposal.status = 'cancelled' AND proposal.status_by = NEW."by" AND proposal.status_reason = NEW.reason AND EXISTS (SELECT 1 FROM action_proposals AS n WHERE n.id = NEW.replaced_by AND n.retry_of = proposal.id AND n.proposed_by = NEW."by")) OR NEW.decision = 'revoked' AND NOT EXISTS (SELECT 1 FROM action_approvals AS d WHERE d.id = NEW.revokes AND d.proposal_id = NEW.proposal_id AND d.decision = 'approved' AND NOT EXISTS (SELECT 1 FROM action_approvals AS v JOIN action_approvals AS r ON r.id = v.revokes WHERE v.proposal_id = d.proposal_id AND v.id > d.id AND r."by" = d."by")) OR btrim(NEW."by", chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(28) || chr(29) || chr(30) || chr(31) || chr(32) || chr(133) || chr(160) || chr(5760) || chr(8192) || chr(8193) || chr(8194) || chr(8195) || chr(8196) || chr(8197) || chr(8198) || chr(8199) || chr(8200) || chr(8201) || chr(8202) || chr(8232) || chr(8233) || chr(8239) || chr(8287) || chr(12288)) = '' OR NEW.decision <> 'approved' AND btrim(NEW.reason, chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(28) || chr(29) || chr(30) || chr(31) || chr(32) || chr(133) || chr(160) || chr(5760) || chr(8192) || chr(8193) || chr(8194) || chr(8195) || chr(8196) || chr(8197) || chr(8198) || chr(8199) || chr(8200) || chr(8201) || chr(8202) || chr(8232) || chr(8233) || chr(8239) || chr(8287) || chr(12288)) = '' THEN
        RAISE EXCEPTION 'OC014: this decision comes too late, or contradicts what is stored' USING ERRCODE = 'OC014';
    END IF;
    IF NEW.decision = 'approved' THEN
    IF EXISTS (SELECT 1 FROM kill_switch AS k WHERE k.scope IN ('everything', 'action_type=' || CAST(proposal.action_type AS TEXT), 'action_name=' || CAST(proposal.action_name AS TEXT), 'proposed_by=' || CAST(proposal.proposed_by AS TEXT), 'ticket_id=' || CAST(proposal.ticket_id AS TEXT)) AND (k.engaged_at IS NOT NULL AND k.released_at IS NULL OR k.generation > proposal.generation)) THEN
        RAISE EXCEPTION 'OC003: the kill switch bars this' USING ERRCODE = 'OC003';
    END IF;
    IF proposal.valid_until <= clock_timestamp() THEN
        RAISE EXCEPTION 'OC008: its time to start is over' USING ERRCODE = 'OC008';
    END IF;
    IF EXISTS (SELECT 1 FROM approval_policies AS g WHERE g.in_force AND g.scope = CASE WHEN EXISTS (SELECT 1 FROM approval_policies AS g WHERE g.in_force AND g.scope = 'action_name=' || CAST(proposal.action_name AS TEXT)) THEN 'action_name=' || CAST(proposal.action_name AS TEXT) WHEN EXISTS (SELECT 1 FROM approval_policies AS g WHERE g.in_force AND g.scope = 'everything') THEN 'everything' END AND g.approvals > 0) AND NOT EXISTS (SELECT 1 FROM approval_policies AS g WHERE g.in_force AND g.scope = CASE WHEN EXISTS (SELECT 1 FROM approval_policies AS g WHERE g.in_force AND g.scope = 'action_name=' || CAST(proposal.action_name AS TEXT)) THEN 'action_name=' || CAST(proposal.action_name AS TEXT) WHEN EXISTS (SELECT 1 FROM approval_policies AS g WHERE g.in_force AND g.scope = 'everything') THEN 'everything' END AND g.approvals > 0 AND (g.four_eyes <> 'no' AND NEW."by" = proposal.proposed_by OR g.four_eyes = 'principal' AND NEW."by" = proposal.on_behalf_of) IS NOT TRUE) THEN
        RAISE EXCEPTION 'OC015: no rule of the policy counts an approval by the proposer' USING ERRCODE = 'OC015';
    END IF;
        NEW.expires_at := least(NEW.expires_at, NEW.at + make_interval(secs => (SELECT CASE WHEN count(*) = count(g.expires_seconds) THEN max(g.expires_seconds) END FROM approval_policies AS g WHERE g.in_force AND g.scope = CASE WHEN EXISTS (SELECT 1 FROM approval_policies AS g WHERE g.in_force AND g.scope = 'action_name=' || CAST(proposal.action_name AS TEXT)) THEN 'action_name=' || CAST(proposal.action_name AS TEXT) WHEN EXISTS (SELECT 1 FROM approval_policies AS g WHERE g.in_force AND g.scope = 'everything') THEN 'everything' END AND (g.role = '' OR g.role = NEW.role))));
    END IF;
    IF NEW.at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR NEW.expires_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR octet_length(NEW."by") > 255 AND length(NEW."by") > 255 OR octet_length(NEW."role") > 255 AND length(NEW."role") > 255 OR octet_length(NEW."login") > 255 AND length(NEW."login") > 255 OR octet_length(NEW."reason") > 262144 AND length(NEW."reason") > 262144 OR octet_length(NEW."digest") > 255 AND length(NEW."digest") > 255 THEN
        RAISE EXCEPTION 'OC010: this could not be read back, so it is neither stored nor started' USING ERRCODE = 'OC010';
    END IF;
    RETURN NEW;
END
$guard$
-- next
CREATE OR REPLACE FUNCTION operator_core_policies_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $guard$
BEGIN
    IF TG_OP = 'UPDATE' AND (NEW.scope <> OLD.scope OR NEW.role <> OLD.role) THEN
        RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
    END IF;
    NEW.version := (SELECT coalesce(max(n.version), 0) + 1 FROM (SELECT max(g.version) AS version FROM approval_policies AS g UNION ALL SELECT max(e.version) FROM approval_policy_events AS e) AS n);
    NEW.at := clock_timestamp();
    NEW."by" := coalesce(NEW."by", 'sql:' || session_user::text);
    IF NOT (NEW.scope = 'everything' OR substr(NEW.scope, 1, 12) = 'action_name=' AND length(NEW.scope) BETWEEN 13 AND 267 AND NOT btrim(substr(NEW.scope, 13), chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(28) || chr(29) || chr(30) || chr(31) || chr(32) || chr(133) || chr(160) || chr(5760) || chr(8192) || chr(8193) || chr(8194) || chr(8195) || chr(8196) || chr(8197) || chr(8198) || chr(8199) || chr(8200) || chr(8201) || chr(8202) || chr(8232) || chr(8233) || chr(8239) || chr(8287) || chr(12288)) = '') OR NEW.role <> '' AND (btrim(NEW.role, chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(28) || chr(29) || chr(30) || chr(31) || chr(32) || chr(133) || chr(160) || chr(5760) || chr(8192) || chr(8193) || chr(8194) || chr(8195) || chr(8196) || chr(8197) || chr(8198) || chr(8199) || chr(8200) || chr(8201) || chr(8202) || chr(8232) || chr(8233) || chr(8239) || chr(8287) || chr(12288)) = '' OR NEW.approvals = 0) OR btrim(NEW."by", chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(28) || chr(29) || chr(30) || chr(31) || chr(32) || chr(133) || chr(160) || chr(5760) || chr(8192) || chr(8193) || chr(8194) || chr(8195) || chr(8196) || chr(8197) || chr(8198) || chr(8199) || chr(8200) || chr(8201) || chr(8202) || chr(8232) || chr(8233) || chr(8239) || chr(8287) || chr(12288)) = '' OR btrim(NEW.reason, chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(28) || chr(29) || chr(30) || chr(31) || chr(32) || chr(133) || chr(160) || chr(5760) || chr(8192) || chr(8193) || chr(8194) || chr(8195) || chr(8196) || chr(8197) || chr(8198) || chr(8199) || chr(8200) || chr(8201) || chr(8202) || chr(8232) || chr(8233) || chr(8239) || chr(8287) || chr(12288)) = '' OR NOT (NEW.expires_seconds > 0 AND NEW.expires_seconds <= 31622400) THEN
        RAISE EXCEPTION 'OC016: a policy is for everything or action_name=NAME, its rules within their limits' USING ERRCODE = 'OC016';
    END IF;
    IF octet_length(NEW."role") > 255 AND length(NEW."role") > 255 OR octet_length(NEW."by") > 255 AND length(NEW."by") > 255 OR octet_length(NEW."reason") > 262144 AND length(NEW."reason") > 262144 THEN
        RAISE EXCEPTION 'OC010: this could not be read back, so it is neither stored nor started' USING ERRCODE = 'OC010';
    END IF;
    RETURN NEW;
END
$guard$
-- next
CREATE OR REPLACE FUNCTION operator_core_policy_events_insert() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $guard$
BEGIN
    -- 1 is a client's own statement; the triggers that write history insert at 2.
    IF pg_trigger_depth() < 2 OR NOT EXISTS (SELECT 1 FROM approval_policies AS g WHERE g.scope = NEW.scope AND g.role = NEW.role AND g.version = NEW.version AND g.approvals = NEW.approvals AND g.four_eyes = NEW.four_eyes AND g.humans_only = NEW.humans_only AND g.in_force = NEW.in_force AND g.at = NEW.at) THEN
        RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
    END IF;
    RETURN NEW;
END
$guard$
-- next
CREATE OR REPLACE FUNCTION operator_core_write_policy_event() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $guard$
DECLARE
    kept RECORD;
BEGIN
    INSERT INTO approval_policy_events AS e (version, scope, role, approvals, four_eyes, humans_only, expires_seconds, in_force, at, by, reason)
    VALUES (NEW."version", NEW."scope", NEW."role", NEW."approvals", NEW."four_eyes", NEW."humans_only", NEW."expires_seconds", NEW."in_force", NEW."at", NEW."by", NEW."reason")
        RETURNING e.version, e.scope, e.role, e.in_force INTO kept;
    IF kept.version IS DISTINCT FROM NEW.version OR kept.scope IS DISTINCT FROM NEW.scope OR kept.role IS DISTINCT FROM NEW.role OR kept.in_force IS DISTINCT FROM NEW.in_force THEN
        RAISE EXCEPTION 'OC011: the history does not take this step: something swallows its events' USING ERRCODE = 'OC011';
    END IF;
    RETURN NULL;
END
$guard$
-- next
CREATE OR REPLACE FUNCTION operator_core_engage(stop_scope text, stop_by text, stop_reason text) RETURNS TABLE (scope text, generation bigint, engaged_at timestamptz, engaged_by text, reason text, released_at timestamptz, released_by text, release_reason text) LANGUAGE plpgsql SECURITY DEFINER AS $guard$
#variable_conflict use_column
BEGIN
    RETURN QUERY INSERT INTO kill_switch AS k (scope, generation, engaged_at, engaged_by, reason)
    -- The trigger takes the next generation.
    VALUES (stop_scope, 0, statement_timestamp(), stop_by, stop_reason)
    ON CONFLICT (scope) DO UPDATE
    SET engaged_at = excluded.engaged_at, engaged_by = excluded.engaged_by, reason = excluded.reason, released_at = NULL, released_by = NULL, release_reason = NULL
    RETURNING k.scope, k.generation, k.engaged_at, k.engaged_by, k.reason, k.released_at, k.released_by, k.release_reason;
END
$guard$
-- next
CREATE OR REPLACE FUNCTION operator_core_sweep(swept_generation bigint, sweep_rows integer) RETURNS SETOF bigint LANGUAGE plpgsql SECURITY DEFINER AS $guard$
BEGIN
    RETURN QUERY WITH leftover AS (
        SELECT p.id, k.by, k.reason
        FROM kill_switch_events AS k
        JOIN action_proposals AS p ON (p.status = 'proposed' OR p.status = 'validated') AND p.generation < k.generation AND k.scope IN ('everything', 'action_type=' || CAST(p.action_type AS TEXT), 'action_name=' || CAST(p.action_name AS TEXT), 'proposed_by=' || CAST(p.proposed_by AS TEXT), 'ticket_id=' || CAST(p.ticket_id AS TEXT))
        WHERE k.generation = swept_generation AND k.change = 'engaged'
        LIMIT sweep_rows FOR UPDATE OF p SKIP LOCKED
    )
    UPDATE action_proposals AS p
    SET status = 'cancelled', status_at = statement_timestamp(), cancelled_at = statement_timestamp(),
        status_by = l.by, status_reason = l.reason
    FROM leftover AS l WHERE p.id = l.id AND (p.status = 'proposed' OR p.status = 'validated')
    RETURNING p.id;
END
$guard$
-- next
CREATE OR REPLACE FUNCTION operator_core_barrier() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $guard$
BEGIN
    LOCK TABLE kill_switch_barrier IN EXCLUSIVE MODE;
END
$guard$
-- next
CREATE OR REPLACE FUNCTION operator_core_lacks_approval(looks boolean, number bigint, name text, proposer text, principal text) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER STABLE COST 100000 SET row_security=off SET plan_cache_mode=force_generic_plan AS $guard$
DECLARE
    proposal RECORD;
BEGIN
    IF NOT looks THEN
        RETURN false;
    END IF;
    SELECT number AS id, name AS action_name, proposer AS proposed_by, principal AS on_behalf_of INTO proposal;
    IF NOT ((SELECT 1 FROM action_approvals AS d WHERE d.proposal_id = proposal.id LIMIT 1) IS NOT NULL OR EXISTS (SELECT 1 FROM approval_policies AS g WHERE g.in_force)) THEN
        RETURN false;
    END IF;
    RETURN ((SELECT 1 FROM action_approvals AS d WHERE d.proposal_id = proposal.id LIMIT 1) IS NOT NULL AND ((SELECT 1 FROM action_approvals AS d WHERE d.proposal_id = proposal.id AND d.decision = 'rejected' LIMIT 1) IS NOT NULL OR CASE WHEN EXISTS (SELECT 1 FROM approval_policies AS g WHERE g.in_force AND g.scope = 'action_name=' || CAST(proposal.action_name AS TEXT)) THEN 'action_name=' || CAST(proposal.action_name AS TEXT) WHEN EXISTS (SELECT 1 FROM approval_policies AS g WHERE g.in_force AND g.scope = 'everything') THEN 'everything' END IS NULL AND NOT (SELECT 1 FROM action_approvals AS d WHERE d.proposal_id = proposal.id AND d.decision = 'approved' AND d.kind <> 'agent' AND (d.expires_at IS NULL OR d.expires_at > clock_timestamp()) AND NOT EXISTS (SELECT 1 FROM action_approvals AS v JOIN action_approvals AS r ON r.id = v.revokes WHERE v.proposal_id = d.proposal_id AND v.id > d.id AND r."by" = d."by") LIMIT 1) IS NOT NULL) OR EXISTS (SELECT 1 FROM approval_policies AS g WHERE g.in_force) AND EXISTS (SELECT 1 FROM approval_policies AS g WHERE g.in_force AND g.scope = CASE WHEN EXISTS (SELECT 1 FROM approval_policies AS g WHERE g.in_force AND g.scope = 'action_name=' || CAST(proposal.action_name AS TEXT)) THEN 'action_name=' || CAST(proposal.action_name AS TEXT) WHEN EXISTS (SELECT 1 FROM approval_policies AS g WHERE g.in_force AND g.scope = 'everything') THEN 'everything' END AND (g.approvals = 1 AND NOT EXISTS (SELECT 1 FROM action_approvals AS d WHERE d.proposal_id = proposal.id AND d.decision = 'approved' AND (g.role = '' OR d.role = g.role) AND (NOT g.humans_only OR d.kind = 'human') AND (g.four_eyes = 'no' OR d."by" <> proposal.proposed_by) AND (g.four_eyes <> 'principal' OR d."by" <> proposal.on_behalf_of) AND (d.expires_at IS NULL OR d.expires_at > clock_timestamp()) AND (g.expires_seconds IS NULL OR d.at + make_interval(secs => g.expires_seconds) > clock_timestamp()) AND NOT EXISTS (SELECT 1 FROM action_approvals AS v JOIN action_approvals AS r ON r.id = v.revokes WHERE v.proposal_id = d.proposal_id AND v.id > d.id AND r."by" = d."by")) OR g.approvals > 1 AND g.approvals > (SELECT count(DISTINCT d."by") FROM action_approvals AS d WHERE d.proposal_id = proposal.id AND d.decision = 'approved' AND (g.role = '' OR d.role = g.role) AND (NOT g.humans_only OR d.kind = 'human') AND (g.four_eyes = 'no' OR d."by" <> proposal.proposed_by) AND (g.four_eyes <> 'principal' OR d."by" <> proposal.on_behalf_of) AND (d.expires_at IS NULL OR d.expires_at > clock_timestamp()) AND (g.expires_seconds IS NULL OR d.at + make_interval(secs => g.expires_seconds) > clock_timestamp()) AND NOT EXISTS (SELECT 1 FROM action_approvals AS v JOIN action_approvals AS r ON r.id = v.revokes WHERE v.proposal_id = d.proposal_id AND v.id > d.id AND r."by" = d."by")))));
END
$guard$
-- next
CREATE OR REPLACE FUNCTION operator_core_json_unreadable(document text) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $guard$
DECLARE
    -- Without its strings, in which brackets and digits mean nothing.
    bare text := regexp_replace(document, E'"(?:[^"\\\\]|\\\\.)*"', '0', 'g');
    levels text := regexp_replace(bare, E'[^\\[\\]{}]', '', 'g');
BEGIN
    IF bare ~ '[0-9]{255}[0-9]{255}[0-9]{131}' THEN
        RETURN true;
    END IF;
    FOR level IN 1..190 LOOP
        EXIT WHEN levels = '';
        levels := replace(replace(levels, '[]', ''), '{}', '');
    END LOOP;
    IF levels <> '' THEN
        RETURN true;
    END IF;
    PERFORM document::jsonb;  -- refuses NUL and lone surrogates
    PERFORM number[1]::double precision  -- refuses what is larger than a float, or is none any more
    FROM regexp_matches(bare, E'-?[0-9]+(?:\\.[0-9]+)?[eE][-+]?[0-9]+|-?[0-9]+\\.[0-9]+', 'g') AS number;
    RETURN false;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN true;
END
$guard$
-- next
CREATE OR REPLACE FUNCTION operator_core_approve(decided bigint, approver text, approver_kind text, approver_role text, decision_reason text, seen_digest text, lasting double precision) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS $guard$
DECLARE
    decision bigint;
    moment timestamptz := clock_timestamp();
BEGIN
    INSERT INTO action_approvals AS a (proposal_id, decision, by, kind, role, reason, digest, expires_at)
    VALUES (decided, 'approved', approver, approver_kind, approver_role, decision_reason, seen_digest,
        moment + make_interval(secs => lasting))
    RETURNING a.id INTO decision;
    UPDATE action_proposals AS p
    SET status = 'validated', status_at = moment, validated_at = moment, status_by = approver,
        status_reason = decision_reason
    WHERE p.id = decided AND p.status = 'proposed' AND NOT ((SELECT 1 FROM action_approvals AS d WHERE d.proposal_id = p.id LIMIT 1) IS NOT NULL AND ((SELECT 1 FROM action_approvals AS d WHERE d.proposal_id = p.id AND d.decision = 'rejected' LIMIT 1) IS NOT NULL OR CASE WHEN EXISTS (SELECT 1 FROM approval_policies AS g WHERE g.in_force AND g.scope = 'action_name=' || CAST(p.action_name AS TEXT)) THEN 'action_name=' || CAST(p.action_name AS TEXT) WHEN EXISTS (SELECT 1 FROM approval_policies AS g WHERE g.in_force AND g.scope = 'everything') THEN 'everything' END IS NULL AND NOT (SELECT 1 FROM action_approvals AS d WHERE d.proposal_id = p.id AND d.decision = 'approved' AND d.kind <> 'agent' AND (d.expires_at IS NULL OR d.expires_at > clock_timestamp()) AND NOT EXISTS (SELECT 1 FROM action_approvals AS v JOIN action_approvals AS r ON r.id = v.revokes WHERE v.proposal_id = d.proposal_id AND v.id > d.id AND r."by" = d."by") LIMIT 1) IS NOT NULL) OR EXISTS (SELECT 1 FROM approval_policies AS g WHERE g.in_force) AND EXISTS (SELECT 1 FROM approval_policies AS g WHERE g.in_force AND g.scope = CASE WHEN EXISTS (SELECT 1 FROM approval_policies AS g WHERE g.in_force AND g.scope = 'action_name=' || CAST(p.action_name AS TEXT)) THEN 'action_name=' || CAST(p.action_name AS TEXT) WHEN EXISTS (SELECT 1 FROM approval_policies AS g WHERE g.in_force AND g.scope = 'everything') THEN 'everything' END AND (g.approvals = 1 AND NOT EXISTS (SELECT 1 FROM action_approvals AS d WHERE d.proposal_id = p.id AND d.decision = 'approved' AND (g.role = '' OR d.role = g.role) AND (NOT g.humans_only OR d.kind = 'human') AND (g.four_eyes = 'no' OR d."by" <> p.proposed_by) AND (g.four_eyes <> 'principal' OR d."by" <> p.on_behalf_of) AND (d.expires_at IS NULL OR d.expires_at > clock_timestamp()) AND (g.expires_seconds IS NULL OR d.at + make_interval(secs => g.expires_seconds) > clock_timestamp()) AND NOT EXISTS (SELECT 1 FROM action_approvals AS v JOIN action_approvals AS r ON r.id = v.revokes WHERE v.proposal_id = d.proposal_id AND v.id > d.id AND r."by" = d."by")) OR g.approvals > 1 AND g.approvals > (SELECT count(DISTINCT d."by") FROM action_approvals AS d WHERE d.proposal_id = p.id AND d.decision = 'approved' AND (g.role = '' OR d.role = g.role) AND (NOT g.humans_only OR d.kind = 'human') AND (g.four_eyes = 'no' OR d."by" <> p.proposed_by) AND (g.four_eyes <> 'principal' OR d."by" <> p.on_behalf_of) AND (d.expires_at IS NULL OR d.expires_at > clock_timestamp()) AND (g.expires_seconds IS NULL OR d.at + make_interval(secs => g.expires_seconds) > clock_timestamp()) AND NOT EXISTS (SELECT 1 FROM action_approvals AS v JOIN action_approvals AS r ON r.id = v.revokes WHERE v.proposal_id = d.proposal_id AND v.id > d.id AND r."by" = d."by")))));
    RETURN decision;
END
$guard$
-- next
CREATE OR REPLACE FUNCTION operator_core_reject(decided bigint, approver text, approver_kind text, approver_role text, decision_reason text, seen_digest text, replacement bigint) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS $guard$
DECLARE
    decision bigint;
    moment timestamptz := clock_timestamp();
BEGIN
    INSERT INTO action_approvals AS a (proposal_id, decision, by, kind, role, reason, digest, replaced_by)
    VALUES (decided, 'rejected', approver, approver_kind, approver_role, decision_reason, seen_digest,
        replacement)
    RETURNING a.id INTO decision;
    UPDATE action_proposals AS p
    SET status = 'cancelled', status_at = moment, cancelled_at = moment, status_by = approver,
        status_reason = decision_reason
    WHERE p.id = decided AND (p.status = 'proposed' OR p.status = 'validated');
    RETURN decision;
END
$guard$
-- next
CREATE OR REPLACE FUNCTION operator_core_revoke(revoked bigint, approver text, approver_kind text, approver_role text, decision_reason text) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS $guard$
DECLARE
    decision bigint;
BEGIN
    INSERT INTO action_approvals AS a (proposal_id, decision, by, kind, role, reason, revokes)
    SELECT d.proposal_id, 'revoked', approver, approver_kind, approver_role, decision_reason, d.id
    FROM action_approvals AS d WHERE d.id = revoked
    RETURNING a.id INTO decision;
    RETURN decision;
END
$guard$
-- next
DO $do$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['operator_core_proposals_insert', 'operator_core_proposals_update', 'operator_core_proposals_delete', 'operator_core_records_insert', 'operator_core_records_update', 'operator_core_records_delete', 'operator_core_events_keep', 'operator_core_notes_insert', 'operator_core_prunes_insert', 'operator_core_kill_switch_counter', 'operator_core_kill_switch_change', 'operator_core_refuse_always', 'operator_core_events_insert', 'operator_core_kill_switch_events_insert', 'operator_core_write_event', 'operator_core_write_note', 'operator_core_write_kill_switch_event', 'operator_core_approvals_insert', 'operator_core_policies_change', 'operator_core_policy_events_insert', 'operator_core_write_policy_event', 'operator_core_engage', 'operator_core_sweep', 'operator_core_barrier', 'operator_core_lacks_approval', 'operator_core_json_unreadable', 'operator_core_approve', 'operator_core_reject', 'operator_core_revoke'] LOOP
        EXECUTE format('ALTER FUNCTION %I SET search_path = pg_catalog, %I, pg_temp', name, current_schema());
        EXECUTE format('REVOKE ALL ON FUNCTION %I FROM PUBLIC', name);
    END LOOP;
END
$do$
-- next
CREATE TRIGGER operator_core_proposals_insert BEFORE INSERT ON action_proposals FOR EACH ROW EXECUTE FUNCTION operator_core_proposals_insert()
-- next
CREATE TRIGGER operator_core_proposals_update BEFORE UPDATE ON action_proposals FOR EACH ROW EXECUTE FUNCTION operator_core_proposals_update()
-- next
CREATE TRIGGER operator_core_proposals_delete BEFORE DELETE ON action_proposals FOR EACH ROW EXECUTE FUNCTION operator_core_proposals_delete()
-- next
CREATE TRIGGER operator_core_proposals_written AFTER INSERT OR UPDATE ON action_proposals FOR EACH ROW EXECUTE FUNCTION operator_core_write_event()
-- next
CREATE TRIGGER operator_core_records_insert BEFORE INSERT ON action_records FOR EACH ROW EXECUTE FUNCTION operator_core_records_insert()
-- next
CREATE TRIGGER operator_core_records_update BEFORE UPDATE ON action_records FOR EACH ROW EXECUTE FUNCTION operator_core_records_update()
-- next
CREATE TRIGGER operator_core_records_delete BEFORE DELETE ON action_records FOR EACH ROW EXECUTE FUNCTION operator_core_records_delete()
-- next
CREATE TRIGGER operator_core_records_written AFTER UPDATE ON action_records FOR EACH ROW EXECUTE FUNCTION operator_core_write_note()
-- next
CREATE TRIGGER operator_core_kill_switch_counter BEFORE INSERT OR UPDATE ON kill_switch FOR EACH STATEMENT EXECUTE FUNCTION operator_core_kill_switch_counter()
-- next
CREATE TRIGGER operator_core_kill_switch_change BEFORE INSERT OR UPDATE ON kill_switch FOR EACH ROW EXECUTE FUNCTION operator_core_kill_switch_change()
-- next
CREATE TRIGGER operator_core_kill_switch_written AFTER INSERT OR UPDATE ON kill_switch FOR EACH ROW EXECUTE FUNCTION operator_core_write_kill_switch_event()
-- next
CREATE TRIGGER operator_core_kill_switch_delete BEFORE DELETE ON kill_switch FOR EACH ROW EXECUTE FUNCTION operator_core_refuse_always()
-- next
CREATE TRIGGER operator_core_events_insert BEFORE INSERT ON action_events FOR EACH ROW EXECUTE FUNCTION operator_core_events_insert()
-- next
CREATE TRIGGER operator_core_kill_switch_events_insert BEFORE INSERT ON kill_switch_events FOR EACH ROW EXECUTE FUNCTION operator_core_kill_switch_events_insert()
-- next
CREATE TRIGGER operator_core_notes_insert BEFORE INSERT ON action_notes FOR EACH ROW EXECUTE FUNCTION operator_core_notes_insert()
-- next
CREATE TRIGGER operator_core_prunes_insert BEFORE INSERT ON action_prunes FOR EACH ROW EXECUTE FUNCTION operator_core_prunes_insert()
-- next
CREATE TRIGGER operator_core_events_keep BEFORE UPDATE OR DELETE ON action_events FOR EACH ROW EXECUTE FUNCTION operator_core_events_keep()
-- next
CREATE TRIGGER operator_core_notes_keep BEFORE UPDATE OR DELETE ON action_notes FOR EACH ROW EXECUTE FUNCTION operator_core_events_keep()
-- next
CREATE TRIGGER operator_core_approvals_insert BEFORE INSERT ON action_approvals FOR EACH ROW EXECUTE FUNCTION operator_core_approvals_insert()
-- next
CREATE TRIGGER operator_core_approvals_keep BEFORE UPDATE OR DELETE ON action_approvals FOR EACH ROW EXECUTE FUNCTION operator_core_events_keep()
-- next
CREATE TRIGGER operator_core_approval_policies_change BEFORE INSERT OR UPDATE ON approval_policies FOR EACH ROW EXECUTE FUNCTION operator_core_policies_change()
-- next
CREATE TRIGGER operator_core_approval_policies_written AFTER INSERT OR UPDATE ON approval_policies FOR EACH ROW EXECUTE FUNCTION operator_core_write_policy_event()
-- next
CREATE TRIGGER operator_core_approval_policies_delete BEFORE DELETE ON approval_policies FOR EACH ROW EXECUTE FUNCTION operator_core_refuse_always()
-- next
CREATE TRIGGER operator_core_approval_policy_events_insert BEFORE INSERT ON approval_policy_events FOR EACH ROW EXECUTE FUNCTION operator_core_policy_events_insert()
-- next
CREATE TRIGGER operator_core_prunes_keep BEFORE UPDATE OR DELETE ON action_prunes FOR EACH ROW EXECUTE FUNCTION operator_core_refuse_always()
-- next
CREATE TRIGGER operator_core_kill_switch_events_keep BEFORE UPDATE OR DELETE ON kill_switch_events FOR EACH ROW EXECUTE FUNCTION operator_core_refuse_always()
-- next
CREATE TRIGGER operator_core_approval_policy_events_keep BEFORE UPDATE OR DELETE ON approval_policy_events FOR EACH ROW EXECUTE FUNCTION operator_core_refuse_always()
-- next
CREATE TRIGGER operator_core_proposals_truncate BEFORE TRUNCATE ON action_proposals FOR EACH STATEMENT EXECUTE FUNCTION operator_core_refuse_always()
-- next
CREATE TRIGGER operator_core_records_truncate BEFORE TRUNCATE ON action_records FOR EACH STATEMENT EXECUTE FUNCTION operator_core_refuse_always()
-- next
CREATE TRIGGER operator_core_events_truncate BEFORE TRUNCATE ON action_events FOR EACH STATEMENT EXECUTE FUNCTION operator_core_refuse_always()
-- next
CREATE TRIGGER operator_core_notes_truncate BEFORE TRUNCATE ON action_notes FOR EACH STATEMENT EXECUTE FUNCTION operator_core_refuse_always()
-- next
CREATE TRIGGER operator_core_prunes_truncate BEFORE TRUNCATE ON action_prunes FOR EACH STATEMENT EXECUTE FUNCTION operator_core_refuse_always()
-- next
CREATE TRIGGER operator_core_kill_switch_truncate BEFORE TRUNCATE ON kill_switch FOR EACH STATEMENT EXECUTE FUNCTION operator_core_refuse_always()
-- next
CREATE TRIGGER operator_core_kill_switch_events_truncate BEFORE TRUNCATE ON kill_switch_events FOR EACH STATEMENT EXECUTE FUNCTION operator_core_refuse_always()
-- next
CREATE TRIGGER operator_core_approvals_truncate BEFORE TRUNCATE ON action_approvals FOR EACH STATEMENT EXECUTE FUNCTION operator_core_refuse_always()
-- next
CREATE TRIGGER operator_core_approval_policies_truncate BEFORE TRUNCATE ON approval_policies FOR EACH STATEMENT EXECUTE FUNCTION operator_core_refuse_always()
-- next
CREATE TRIGGER operator_core_approval_policy_events_truncate BEFORE TRUNCATE ON approval_policy_events FOR EACH STATEMENT EXECUTE FUNCTION operator_core_refuse_always()
