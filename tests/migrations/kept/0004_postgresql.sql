SELECT pg_catalog.set_config('search_path', '', false);
CREATE FUNCTION public.operator_core_approvals_insert() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET row_security TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
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
$$;
CREATE FUNCTION public.operator_core_approve(decided bigint, approver text, approver_kind text, approver_role text, decision_reason text, seen_digest text, lasting double precision) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
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
$$;
CREATE FUNCTION public.operator_core_barrier() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    LOCK TABLE kill_switch_barrier IN EXCLUSIVE MODE;
END
$$;
CREATE FUNCTION public.operator_core_engage(stop_scope text, stop_by text, stop_reason text) RETURNS TABLE(scope text, generation bigint, engaged_at timestamp with time zone, engaged_by text, reason text, released_at timestamp with time zone, released_by text, release_reason text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY INSERT INTO kill_switch AS k (scope, generation, engaged_at, engaged_by, reason)
    -- The trigger takes the next generation.
    VALUES (stop_scope, 0, statement_timestamp(), stop_by, stop_reason)
    ON CONFLICT (scope) DO UPDATE
    SET engaged_at = excluded.engaged_at, engaged_by = excluded.engaged_by, reason = excluded.reason, released_at = NULL, released_by = NULL, release_reason = NULL
    RETURNING k.scope, k.generation, k.engaged_at, k.engaged_by, k.reason, k.released_at, k.released_by, k.release_reason;
END
$$;
CREATE FUNCTION public.operator_core_events_insert() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    -- 1 is a client's own statement; the triggers that write history insert at 2.
    IF pg_trigger_depth() < 2 OR NOT EXISTS (SELECT 1 FROM action_proposals AS p WHERE p.id = NEW.proposal_id AND p.status_at = NEW.at AND (NEW.from_status IS NULL AND NEW.to_status = 'proposed' OR NEW.from_status IS NOT NULL AND p.status = NEW.to_status) AND coalesce((SELECT e.to_status FROM action_events AS e WHERE e.proposal_id = p.id ORDER BY e.id + 0 DESC LIMIT 1), '') = coalesce(NEW.from_status, '')) THEN
        RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
    END IF;
    NEW.recorded_at := clock_timestamp();
    RETURN NEW;
END
$$;
CREATE FUNCTION public.operator_core_events_keep() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    IF TG_OP <> 'DELETE' OR EXISTS (SELECT 1 FROM action_proposals AS p WHERE p.id = OLD.proposal_id) OR NOT EXISTS (SELECT 1 FROM action_prunes AS q WHERE NOT q.keep_events AND q."before" > OLD.at AND q."before" > coalesce((SELECT max(e.recorded_at) FROM action_events AS e WHERE e.proposal_id = OLD.proposal_id), OLD.at) AND q."before" > coalesce((SELECT max(e.at) FROM action_events AS e WHERE e.proposal_id = OLD.proposal_id), OLD.at)) THEN
        RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
    END IF;
    RETURN OLD;
END
$$;
CREATE FUNCTION public.operator_core_json_unreadable(document text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
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
$$;
CREATE FUNCTION public.operator_core_kill_switch_change() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
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
$_$;
CREATE FUNCTION public.operator_core_kill_switch_counter() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    -- Before any other row is locked, so that two stops at once queue instead of meeting crosswise.
    PERFORM FROM kill_switch AS k WHERE k.scope = 'everything' FOR NO KEY UPDATE;
    RETURN NULL;
END
$$;
CREATE FUNCTION public.operator_core_kill_switch_events_insert() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
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
CREATE FUNCTION public.operator_core_lacks_approval(looks boolean, number bigint, name text, proposer text, principal text) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER COST 100000
    SET row_security TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
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
$$;
CREATE FUNCTION public.operator_core_notes_insert() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    IF NEW.kind <> 'reported_late' AND pg_trigger_depth() < 2 OR NOT EXISTS (SELECT 1 FROM action_records AS r JOIN action_proposals AS p ON p.id = r.proposal_id WHERE r.id = NEW.record_id AND p.id = NEW.proposal_id AND p.status = NEW.status AND (NEW.kind = 'reported_late' AND r.completed_at IS NOT NULL OR NEW.kind = 'cancel_requested' AND r.cancel_requested_at = NEW.at OR NEW.kind = 'resolved' AND r.finding_at = NEW.at)) THEN
        RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
    END IF;
    IF NEW.at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR octet_length(NEW."by") > 255 AND length(NEW."by") > 255 OR octet_length(NEW."reason") > 262144 AND length(NEW."reason") > 262144 OR json_typeof(NEW.data) <> 'object' OR octet_length(NEW.data::text) > 2097152 OR (NEW.data::text ~ E'\\\\u|[0-9][eE]' OR octet_length(NEW.data::text) > 309 AND NEW.data::text ~ '[0-9]{255}[0-9]{54}' OR octet_length(NEW.data::text) - octet_length(translate(NEW.data::text, '[{', '')) > 190) AND operator_core_json_unreadable(NEW.data::text) THEN
        RAISE EXCEPTION 'OC010: this could not be read back, so it is neither stored nor started' USING ERRCODE = 'OC010';
    END IF;
    RETURN NEW;
END
$$;
CREATE FUNCTION public.operator_core_policies_change() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
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
$$;
CREATE FUNCTION public.operator_core_policy_events_insert() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    -- 1 is a client's own statement; the triggers that write history insert at 2.
    IF pg_trigger_depth() < 2 OR NOT EXISTS (SELECT 1 FROM approval_policies AS g WHERE g.scope = NEW.scope AND g.role = NEW.role AND g.version = NEW.version AND g.approvals = NEW.approvals AND g.four_eyes = NEW.four_eyes AND g.humans_only = NEW.humans_only AND g.in_force = NEW.in_force AND g.at = NEW.at) THEN
        RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
    END IF;
    RETURN NEW;
END
$$;
CREATE FUNCTION public.operator_core_proposals_delete() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    IF OLD.status NOT IN ('completed', 'failed', 'cancelled') OR EXISTS (SELECT 1 FROM action_records AS r WHERE r.proposal_id = OLD.id) OR NOT EXISTS (SELECT 1 FROM action_prunes AS q WHERE q."before" > OLD.status_at AND q."before" > coalesce((SELECT max(e.recorded_at) FROM action_events AS e WHERE e.proposal_id = OLD.id), OLD.status_at)) THEN
        RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
    END IF;
    RETURN OLD;
END
$$;
CREATE FUNCTION public.operator_core_proposals_insert() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET row_security TO 'off'
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
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
$$;
CREATE FUNCTION public.operator_core_proposals_update() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET row_security TO 'off'
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
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
$$;
CREATE FUNCTION public.operator_core_prunes_insert() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    IF NEW.before NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR NEW.at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR octet_length(NEW."by") > 255 AND length(NEW."by") > 255 OR octet_length(NEW."reason") > 262144 AND length(NEW."reason") > 262144 THEN
        RAISE EXCEPTION 'OC010: this could not be read back, so it is neither stored nor started' USING ERRCODE = 'OC010';
    END IF;
    IF NEW.before > clock_timestamp() + interval '1 day' THEN
        RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
    END IF;
    RETURN NEW;
END
$$;
CREATE FUNCTION public.operator_core_records_delete() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM action_proposals AS p JOIN action_prunes AS q ON q."before" > p.status_at AND q."before" > coalesce((SELECT max(e.recorded_at) FROM action_events AS e WHERE e.proposal_id = p.id), p.status_at) WHERE p.id = OLD.proposal_id AND p.status IN ('completed', 'failed', 'cancelled')) OR OLD.outcome = 'unknown' AND OLD.finding IS NULL THEN
        RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
    END IF;
    RETURN OLD;
END
$$;
CREATE FUNCTION public.operator_core_records_insert() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    IF NEW.completed_at IS NOT NULL OR NOT EXISTS (SELECT 1 FROM action_proposals AS p WHERE p.id = NEW.proposal_id AND p.status = 'executing') THEN
        RAISE EXCEPTION 'OC006: the record does not allow this' USING ERRCODE = 'OC006';
    END IF;
    IF NEW.started_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR NEW.completed_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR NEW.cancel_requested_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR NEW.last_seen_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR NEW.lease_expires_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR NEW.finding_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00' OR octet_length(NEW."error_message") > 262144 AND length(NEW."error_message") > 262144 OR octet_length(NEW."cancel_requested_by") > 255 AND length(NEW."cancel_requested_by") > 255 OR octet_length(NEW."cancel_reason") > 262144 AND length(NEW."cancel_reason") > 262144 OR octet_length(NEW."worker") > 255 AND length(NEW."worker") > 255 OR octet_length(NEW."claim_key") > 255 AND length(NEW."claim_key") > 255 OR octet_length(NEW."finding_by") > 255 AND length(NEW."finding_by") > 255 OR octet_length(NEW."finding_reason") > 262144 AND length(NEW."finding_reason") > 262144 OR json_typeof(NEW.result_data) <> 'object' OR octet_length(NEW.result_data::text) > 1048576 OR (NEW.result_data::text ~ E'\\\\u|[0-9][eE]' OR octet_length(NEW.result_data::text) > 309 AND NEW.result_data::text ~ '[0-9]{255}[0-9]{54}' OR octet_length(NEW.result_data::text) - octet_length(translate(NEW.result_data::text, '[{', '')) > 190) AND operator_core_json_unreadable(NEW.result_data::text) OR NOT (NEW.lease_seconds > 0 AND NEW.lease_seconds <= 86400) THEN
        RAISE EXCEPTION 'OC010: this could not be read back, so it is neither stored nor started' USING ERRCODE = 'OC010';
    END IF;
    RETURN NEW;
END
$$;
CREATE FUNCTION public.operator_core_records_update() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET row_security TO 'off'
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
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
$$;
CREATE FUNCTION public.operator_core_refuse_always() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    RAISE EXCEPTION 'OC002: what was recorded never changes and never disappears' USING ERRCODE = 'OC002';
END
$$;
CREATE FUNCTION public.operator_core_reject(decided bigint, approver text, approver_kind text, approver_role text, decision_reason text, seen_digest text, replacement bigint) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
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
$$;
CREATE FUNCTION public.operator_core_revoke(revoked bigint, approver text, approver_kind text, approver_role text, decision_reason text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    decision bigint;
BEGIN
    INSERT INTO action_approvals AS a (proposal_id, decision, by, kind, role, reason, revokes)
    SELECT d.proposal_id, 'revoked', approver, approver_kind, approver_role, decision_reason, d.id
    FROM action_approvals AS d WHERE d.id = revoked
    RETURNING a.id INTO decision;
    RETURN decision;
END
$$;
CREATE FUNCTION public.operator_core_sweep(swept_generation bigint, sweep_rows integer) RETURNS SETOF bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
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
$$;
CREATE FUNCTION public.operator_core_write_event() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET extra_float_digits TO '1'
    SET row_security TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
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
$$;
CREATE FUNCTION public.operator_core_write_kill_switch_event() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
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
$$;
CREATE FUNCTION public.operator_core_write_note() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
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
$$;
CREATE FUNCTION public.operator_core_write_policy_event() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
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
$$;
CREATE TABLE public.action_approvals (
    id bigint NOT NULL,
    proposal_id bigint NOT NULL,
    decision text NOT NULL,
    status text NOT NULL,
    by text NOT NULL,
    kind text NOT NULL,
    role text,
    login text,
    reason text,
    at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone,
    digest text,
    revokes bigint,
    replaced_by bigint,
    generation bigint NOT NULL,
    CONSTRAINT ck_action_approvals_decision CHECK ((decision = ANY (ARRAY['approved'::text, 'rejected'::text, 'revoked'::text]))),
    CONSTRAINT ck_action_approvals_expires_at CHECK (((decision = 'approved'::text) OR (expires_at IS NULL))),
    CONSTRAINT ck_action_approvals_id CHECK (((id >= 1) AND (id <= '9007199254740991'::bigint))),
    CONSTRAINT ck_action_approvals_kind CHECK ((kind = ANY (ARRAY['human'::text, 'agent'::text, 'system'::text]))),
    CONSTRAINT ck_action_approvals_reason CHECK (((decision = 'approved'::text) OR (reason IS NOT NULL))),
    CONSTRAINT ck_action_approvals_replaced_by CHECK (((decision = 'rejected'::text) OR (replaced_by IS NULL))),
    CONSTRAINT ck_action_approvals_revokes CHECK (((decision = 'revoked'::text) = (revokes IS NOT NULL)))
);
ALTER TABLE public.action_approvals ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.action_approvals_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
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
    recorded_at timestamp with time zone,
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
CREATE TABLE public.action_notes (
    id bigint NOT NULL,
    proposal_id bigint NOT NULL,
    record_id bigint NOT NULL,
    kind text NOT NULL,
    status text NOT NULL,
    at timestamp with time zone NOT NULL,
    by text NOT NULL,
    reason text,
    generation bigint NOT NULL,
    data json,
    CONSTRAINT ck_action_notes_id CHECK (((id >= 1) AND (id <= '9007199254740991'::bigint))),
    CONSTRAINT ck_action_notes_kind CHECK ((kind = ANY (ARRAY['cancel_requested'::text, 'reported_late'::text, 'resolved'::text])))
);
ALTER TABLE public.action_notes ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.action_notes_id_seq
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
    valid_until timestamp with time zone,
    retry_of bigint,
    idempotency_key text,
    on_behalf_of text,
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
    keep_events boolean DEFAULT true NOT NULL,
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
    worker text,
    lease_seconds double precision,
    last_seen_at timestamp with time zone,
    lease_expires_at timestamp with time zone,
    claim_key text,
    finding text,
    finding_at timestamp with time zone,
    finding_by text,
    finding_reason text,
    CONSTRAINT ck_action_records_cancel_requested_at CHECK (((cancel_requested_at IS NULL) = (cancel_requested_by IS NULL))),
    CONSTRAINT ck_action_records_completed_at CHECK (((completed_at IS NULL) = (outcome IS NULL))),
    CONSTRAINT ck_action_records_finding CHECK ((finding = ANY (ARRAY['happened'::text, 'did not happen'::text, 'partly'::text]))),
    CONSTRAINT ck_action_records_id CHECK (((id >= 1) AND (id <= '9007199254740991'::bigint))),
    CONSTRAINT ck_action_records_lease CHECK ((((lease_seconds IS NULL) = (worker IS NULL)) AND ((last_seen_at IS NULL) = (worker IS NULL)) AND ((lease_expires_at IS NULL) = (worker IS NULL)))),
    CONSTRAINT ck_action_records_outcome CHECK ((outcome = ANY (ARRAY['succeeded'::text, 'failed'::text, 'stopped'::text, 'unknown'::text]))),
    CONSTRAINT ck_action_records_settled CHECK ((((finding_at IS NULL) = (finding IS NULL)) AND ((finding_by IS NULL) = (finding IS NULL)) AND ((finding_reason IS NULL) = (finding IS NULL)) AND ((finding IS NULL) OR (outcome = 'unknown'::text)))),
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
CREATE TABLE public.approval_policies (
    scope text NOT NULL,
    role text DEFAULT ''::text NOT NULL,
    approvals integer DEFAULT 1 NOT NULL,
    four_eyes text DEFAULT 'proposer'::text NOT NULL,
    humans_only boolean DEFAULT true NOT NULL,
    expires_seconds double precision,
    in_force boolean DEFAULT true NOT NULL,
    version bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    by text NOT NULL,
    reason text NOT NULL,
    CONSTRAINT ck_approval_policies_approvals CHECK (((approvals >= 0) AND (approvals <= 99))),
    CONSTRAINT ck_approval_policies_four_eyes CHECK ((four_eyes = ANY (ARRAY['no'::text, 'proposer'::text, 'principal'::text])))
);
CREATE TABLE public.approval_policy_events (
    id bigint NOT NULL,
    version bigint NOT NULL,
    scope text NOT NULL,
    role text NOT NULL,
    approvals integer NOT NULL,
    four_eyes text NOT NULL,
    humans_only boolean NOT NULL,
    expires_seconds double precision,
    in_force boolean NOT NULL,
    at timestamp with time zone NOT NULL,
    by text NOT NULL,
    reason text NOT NULL,
    CONSTRAINT ck_approval_policy_events_id CHECK (((id >= 1) AND (id <= '9007199254740991'::bigint)))
);
ALTER TABLE public.approval_policy_events ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.approval_policy_events_id_seq
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
CREATE TABLE public.kill_switch_barrier (
    id bigint NOT NULL
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
INSERT INTO public.action_approvals OVERRIDING SYSTEM VALUE VALUES (1, 20, 'approved', 'proposed', 'bob', 'human', NULL, 'postgres', 'it hangs — I looked', '2026-11-29 02:31:44.034098+05:30', '2027-03-24 20:18:24.033169+05:30', 'sha256:cd551183b2f5cad653cc7df3ff574dd97b422343fe03b3dd312799039e7eaf11', NULL, NULL, 2);
INSERT INTO public.action_approvals OVERRIDING SYSTEM VALUE VALUES (2, 20, 'approved', 'proposed', 'dora', 'system', 'security', 'postgres', NULL, '2026-11-29 02:31:44.049845+05:30', NULL, 'sha256:cd551183b2f5cad653cc7df3ff574dd97b422343fe03b3dd312799039e7eaf11', NULL, NULL, 2);
INSERT INTO public.action_approvals OVERRIDING SYSTEM VALUE VALUES (3, 20, 'approved', 'proposed', 'emil', 'human', 'sre', 'postgres', NULL, '2026-11-29 02:31:44.058828+05:30', NULL, 'sha256:cd551183b2f5cad653cc7df3ff574dd97b422343fe03b3dd312799039e7eaf11', NULL, NULL, 2);
INSERT INTO public.action_approvals OVERRIDING SYSTEM VALUE VALUES (4, 21, 'approved', 'proposed', 'bob', 'human', NULL, 'postgres', 'it hangs — I looked', '2026-11-29 02:31:44.07108+05:30', '2027-03-24 20:18:24.070823+05:30', 'sha256:cd551183b2f5cad653cc7df3ff574dd97b422343fe03b3dd312799039e7eaf11', NULL, NULL, 2);
INSERT INTO public.action_approvals OVERRIDING SYSTEM VALUE VALUES (5, 21, 'approved', 'proposed', 'dora', 'system', 'security', 'postgres', NULL, '2026-11-29 02:31:44.079122+05:30', NULL, 'sha256:cd551183b2f5cad653cc7df3ff574dd97b422343fe03b3dd312799039e7eaf11', NULL, NULL, 2);
INSERT INTO public.action_approvals OVERRIDING SYSTEM VALUE VALUES (6, 21, 'approved', 'proposed', 'emil', 'human', 'sre', 'postgres', NULL, '2026-11-29 02:31:44.088297+05:30', NULL, 'sha256:cd551183b2f5cad653cc7df3ff574dd97b422343fe03b3dd312799039e7eaf11', NULL, NULL, 2);
INSERT INTO public.action_approvals OVERRIDING SYSTEM VALUE VALUES (7, 21, 'revoked', 'validated', 'ann', 'human', NULL, 'postgres', 'bob looked at another host', '2026-11-29 02:31:44.099618+05:30', NULL, NULL, 4, NULL, 2);
INSERT INTO public.action_approvals OVERRIDING SYSTEM VALUE VALUES (8, 22, 'rejected', 'proposed', 'ann', 'human', NULL, 'postgres', 'not today', '2026-11-29 02:31:44.115327+05:30', NULL, 'sha256:cd551183b2f5cad653cc7df3ff574dd97b422343fe03b3dd312799039e7eaf11', NULL, NULL, 2);
INSERT INTO public.action_approvals OVERRIDING SYSTEM VALUE VALUES (9, 23, 'rejected', 'cancelled', 'ann', 'human', NULL, 'postgres', 'the other one', '2026-11-29 02:31:44.128663+05:30', NULL, 'sha256:cd551183b2f5cad653cc7df3ff574dd97b422343fe03b3dd312799039e7eaf11', NULL, 25, 2);
INSERT INTO public.action_approvals OVERRIDING SYSTEM VALUE VALUES (10, 24, 'approved', 'proposed', 'bob', 'human', NULL, 'postgres', NULL, '2026-11-29 02:31:44.133485+05:30', NULL, 'sha256:cd551183b2f5cad653cc7df3ff574dd97b422343fe03b3dd312799039e7eaf11', NULL, NULL, 2);
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (1, 1, NULL, 'proposed', '2026-11-29 02:31:43.440811+05:30', 'agent', 'it hangs — 100 %', 0, '{"ticket_id" : null, "action_name" : "restart", "action_type" : "subject", "parameters" : {"host":1,"é":[1e+16,-0.0]}, "reason" : "it hangs — 100 %", "proposed_at" : "2026-10-01 12:00:00.000000", "proposed_by" : "agent", "valid_until" : null, "retry_of" : null, "idempotency_key" : null, "on_behalf_of" : null}', '2026-11-29 02:31:43.447692+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (2, 1, 'proposed', 'validated', '2026-11-29 02:31:43.453151+05:30', 'ann', 'looks right', 0, NULL, '2026-11-29 02:31:43.456601+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (3, 2, NULL, 'proposed', '2026-11-29 02:31:43.460093+05:30', 'agent', 'it hangs — 100 %', 0, '{"ticket_id" : null, "action_name" : "restart", "action_type" : "subject", "parameters" : {"host":1,"é":[1e+16,-0.0]}, "reason" : "it hangs — 100 %", "proposed_at" : "2026-10-01 12:00:00.000000", "proposed_by" : "agent", "valid_until" : null, "retry_of" : null, "idempotency_key" : null, "on_behalf_of" : null}', '2026-11-29 02:31:43.461663+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (4, 2, 'proposed', 'validated', '2026-11-29 02:31:43.4637+05:30', 'ann', 'looks right', 0, NULL, '2026-11-29 02:31:43.464482+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (5, 2, 'validated', 'executing', '2026-11-29 02:31:43.477452+05:30', 'w1', NULL, 0, NULL, '2026-11-29 02:31:43.48227+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (6, 1, 'validated', 'cancelled', '2026-11-29 02:31:43.515076+05:30', 'ann', 'fire', 1, NULL, '2026-11-29 02:31:43.520087+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (7, 2, 'executing', 'cancelled', '2026-11-29 02:31:43.559557+05:30', 'w1', NULL, 1, '{"record_id" : 1, "started_at" : "2026-11-28 21:01:43.477452", "completed_at" : "2026-11-28 21:01:43.559557", "success" : false, "error_message" : null, "result_data" : null, "outcome" : "stopped", "cancel_requested_at" : null, "cancel_requested_by" : null, "cancel_reason" : null, "stop_generation" : 1, "worker" : null, "lease_seconds" : null, "last_seen_at" : null, "lease_expires_at" : null, "claim_key" : null}', '2026-11-29 02:31:43.564052+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (8, 3, NULL, 'proposed', '2026-11-29 02:31:43.567588+05:30', 'agent', 'it hangs — 100 %', 1, '{"ticket_id" : null, "action_name" : "restart", "action_type" : "subject", "parameters" : {"host":1,"é":[1e+16,-0.0]}, "reason" : "it hangs — 100 %", "proposed_at" : "2026-10-01 12:00:00.000000", "proposed_by" : "agent", "valid_until" : null, "retry_of" : null, "idempotency_key" : null, "on_behalf_of" : null}', '2026-11-29 02:31:43.56878+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (9, 3, 'proposed', 'cancelled', '2026-11-29 02:31:43.567588+05:30', 'ann', 'fire', 1, NULL, '2026-11-29 02:31:43.568995+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (10, 4, NULL, 'proposed', '2026-11-29 02:31:43.592625+05:30', 'agent', 'it hangs — 100 %', 1, '{"ticket_id" : 7, "action_name" : "restart", "action_type" : "subject", "parameters" : {"host":1,"é":[1e+16,-0.0]}, "reason" : "it hangs — 100 %", "proposed_at" : "2026-10-01 12:00:00.000000", "proposed_by" : "agent", "valid_until" : null, "retry_of" : null, "idempotency_key" : null, "on_behalf_of" : null}', '2026-11-29 02:31:43.594019+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (11, 5, NULL, 'proposed', '2026-11-29 02:31:43.59673+05:30', 'agent', 'it hangs — 100 %', 1, '{"ticket_id" : 7, "action_name" : "restart", "action_type" : "subject", "parameters" : {"host":1,"é":[1e+16,-0.0]}, "reason" : "it hangs — 100 %", "proposed_at" : "2026-10-01 12:00:00.000000", "proposed_by" : "agent", "valid_until" : null, "retry_of" : null, "idempotency_key" : null, "on_behalf_of" : null}', '2026-11-29 02:31:43.597818+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (12, 5, 'proposed', 'validated', '2026-11-29 02:31:43.599974+05:30', 'ann', 'looks right', 1, NULL, '2026-11-29 02:31:43.600556+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (13, 6, NULL, 'proposed', '2026-11-29 02:31:43.602996+05:30', 'agent', 'it hangs — 100 %', 1, '{"ticket_id" : null, "action_name" : "restart", "action_type" : "subject", "parameters" : {"host":1,"é":[1e+16,-0.0]}, "reason" : "it hangs — 100 %", "proposed_at" : "2026-10-01 12:00:00.000000", "proposed_by" : "agent", "valid_until" : null, "retry_of" : null, "idempotency_key" : null, "on_behalf_of" : null}', '2026-11-29 02:31:43.604392+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (14, 6, 'proposed', 'validated', '2026-11-29 02:31:43.60658+05:30', 'ann', 'looks right', 1, NULL, '2026-11-29 02:31:43.607183+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (15, 6, 'validated', 'executing', '2026-11-29 02:31:43.609812+05:30', 'w1', NULL, 1, NULL, '2026-11-29 02:31:43.61149+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (16, 7, NULL, 'proposed', '2026-11-29 02:31:43.614219+05:30', 'agent', 'it hangs — 100 %', 1, '{"ticket_id" : null, "action_name" : "restart", "action_type" : "subject", "parameters" : {"host":1,"é":[1e+16,-0.0]}, "reason" : "it hangs — 100 %", "proposed_at" : "2026-10-01 12:00:00.000000", "proposed_by" : "agent", "valid_until" : null, "retry_of" : null, "idempotency_key" : null, "on_behalf_of" : null}', '2026-11-29 02:31:43.615365+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (17, 7, 'proposed', 'validated', '2026-11-29 02:31:43.617275+05:30', 'ann', 'looks right', 1, NULL, '2026-11-29 02:31:43.61797+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (18, 7, 'validated', 'executing', '2026-11-29 02:31:43.620795+05:30', 'w2', NULL, 1, NULL, '2026-11-29 02:31:43.622578+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (19, 7, 'executing', 'completed', '2026-11-29 02:31:43.632757+05:30', 'w2', NULL, 1, '{"record_id" : 3, "started_at" : "2026-11-28 21:01:43.620795", "completed_at" : "2026-11-28 21:01:43.632757", "success" : true, "error_message" : null, "result_data" : {"n":1.5}, "outcome" : "succeeded", "cancel_requested_at" : null, "cancel_requested_by" : null, "cancel_reason" : null, "stop_generation" : null, "worker" : null, "lease_seconds" : null, "last_seen_at" : null, "lease_expires_at" : null, "claim_key" : null}', '2026-11-29 02:31:43.634644+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (20, 8, NULL, 'proposed', '2026-11-29 02:31:43.637288+05:30', 'agent', 'it hangs — 100 %', 1, '{"ticket_id" : null, "action_name" : "restart", "action_type" : "subject", "parameters" : {"host":1,"é":[1e+16,-0.0]}, "reason" : "it hangs — 100 %", "proposed_at" : "2026-10-01 12:00:00.000000", "proposed_by" : "agent", "valid_until" : null, "retry_of" : null, "idempotency_key" : null, "on_behalf_of" : null}', '2026-11-29 02:31:43.638445+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (21, 8, 'proposed', 'validated', '2026-11-29 02:31:43.640666+05:30', 'ann', 'looks right', 1, NULL, '2026-11-29 02:31:43.641377+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (22, 8, 'validated', 'executing', '2026-11-29 02:31:43.644117+05:30', 'w2', NULL, 1, NULL, '2026-11-29 02:31:43.646017+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (23, 8, 'executing', 'failed', '2026-11-29 02:31:43.654767+05:30', 'w2', NULL, 1, '{"record_id" : 4, "started_at" : "2026-11-28 21:01:43.644117", "completed_at" : "2026-11-28 21:01:43.654767", "success" : false, "error_message" : null, "result_data" : {"n":1.5}, "outcome" : "failed", "cancel_requested_at" : null, "cancel_requested_by" : null, "cancel_reason" : null, "stop_generation" : null, "worker" : null, "lease_seconds" : null, "last_seen_at" : null, "lease_expires_at" : null, "claim_key" : null}', '2026-11-29 02:31:43.656713+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (24, 9, NULL, 'proposed', '2026-11-29 02:31:43.659494+05:30', 'agent', 'it hangs — 100 %', 1, '{"ticket_id" : null, "action_name" : "restart", "action_type" : "subject", "parameters" : {"host":1,"é":[1e+16,-0.0]}, "reason" : "it hangs — 100 %", "proposed_at" : "2026-10-01 12:00:00.000000", "proposed_by" : "agent", "valid_until" : null, "retry_of" : null, "idempotency_key" : null, "on_behalf_of" : null}', '2026-11-29 02:31:43.660579+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (25, 9, 'proposed', 'cancelled', '2026-11-29 02:31:43.665107+05:30', 'ann', 'no', 1, NULL, '2026-11-29 02:31:43.66586+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (26, 10, NULL, 'proposed', '2026-11-29 02:31:43.769012+05:30', 'agent', 'it hangs — 100 %', 2, '{"ticket_id" : 9, "action_name" : "restart", "action_type" : "subject", "parameters" : {"host":1,"é":[1e+16,-0.0]}, "reason" : "it hangs — 100 %", "proposed_at" : "2026-10-01 12:00:00.000000", "proposed_by" : "agent", "valid_until" : null, "retry_of" : null, "idempotency_key" : null, "on_behalf_of" : null}', '2026-11-29 02:31:43.770055+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (27, 10, 'proposed', 'cancelled', '2026-11-29 02:31:43.769012+05:30', 'ann', 'hall 3', 2, NULL, '2026-11-29 02:31:43.770153+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (28, 11, NULL, 'proposed', '2026-11-29 02:31:43.772795+05:30', 'agent', 'it hangs — 100 %', 2, '{"ticket_id" : null, "action_name" : "restart", "action_type" : "subject", "parameters" : {"host":1,"é":[1e+16,-0.0]}, "reason" : "it hangs — 100 %", "proposed_at" : "2026-10-01 12:00:00.000000", "proposed_by" : "agent", "valid_until" : null, "retry_of" : null, "idempotency_key" : null, "on_behalf_of" : null}', '2026-11-29 02:31:43.773747+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (29, 11, 'proposed', 'validated', '2026-11-29 02:31:43.775527+05:30', 'ann', 'looks right', 2, NULL, '2026-11-29 02:31:43.776122+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (30, 11, 'validated', 'executing', '2026-11-29 02:31:43.779852+05:30', 'w3', NULL, 2, NULL, '2026-11-29 02:31:43.78149+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (31, 12, NULL, 'proposed', '2026-11-29 02:31:43.783762+05:30', 'agent', 'it hangs — 100 %', 2, '{"ticket_id" : null, "action_name" : "restart", "action_type" : "subject", "parameters" : {"host":1,"é":[1e+16,-0.0]}, "reason" : "it hangs — 100 %", "proposed_at" : "2026-10-01 12:00:00.000000", "proposed_by" : "agent", "valid_until" : "2126-09-07 12:00:00.000000", "retry_of" : null, "idempotency_key" : null, "on_behalf_of" : null}', '2026-11-29 02:31:43.784779+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (32, 12, 'proposed', 'validated', '2026-11-29 02:31:43.786206+05:30', 'ann', 'looks right', 2, NULL, '2026-11-29 02:31:43.786901+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (33, 12, 'validated', 'executing', '2026-11-29 02:31:43.78963+05:30', 'w3', NULL, 2, NULL, '2026-11-29 02:31:43.791214+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (34, 12, 'executing', 'completed', '2026-11-29 02:31:43.793818+05:30', 'w3', NULL, 2, '{"record_id" : 6, "started_at" : "2026-11-28 21:01:43.789630", "completed_at" : "2026-11-28 21:01:43.793818", "success" : true, "error_message" : null, "result_data" : {"moved":2}, "outcome" : "succeeded", "cancel_requested_at" : null, "cancel_requested_by" : null, "cancel_reason" : null, "stop_generation" : null, "worker" : "w3", "lease_seconds" : 60, "last_seen_at" : "2026-11-28 21:01:43.789630", "lease_expires_at" : "2026-11-28 21:02:43.789630", "claim_key" : null}', '2026-11-29 02:31:43.795266+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (35, 13, NULL, 'proposed', '2026-11-29 02:31:43.79744+05:30', 'agent', 'it hangs — 100 %', 2, '{"ticket_id" : null, "action_name" : "restart", "action_type" : "subject", "parameters" : {"host":1,"é":[1e+16,-0.0]}, "reason" : "it hangs — 100 %", "proposed_at" : "2026-10-01 12:00:00.000000", "proposed_by" : "agent", "valid_until" : null, "retry_of" : null, "idempotency_key" : null, "on_behalf_of" : null}', '2026-11-29 02:31:43.798309+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (36, 13, 'proposed', 'validated', '2026-11-29 02:31:43.799787+05:30', 'ann', 'looks right', 2, NULL, '2026-11-29 02:31:43.800351+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (37, 13, 'validated', 'executing', '2026-11-29 02:31:43.801619+05:30', 'w4', NULL, 2, NULL, '2026-11-29 02:31:43.802832+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (38, 14, NULL, 'proposed', '2026-11-29 02:31:43.818479+05:30', 'agent', 'it hangs — 100 %', 2, '{"ticket_id" : null, "action_name" : "restart", "action_type" : "subject", "parameters" : {"host":1,"é":[1e+16,-0.0]}, "reason" : "it hangs — 100 %", "proposed_at" : "2026-10-01 12:00:00.000000", "proposed_by" : "agent", "valid_until" : null, "retry_of" : null, "idempotency_key" : null, "on_behalf_of" : null}', '2026-11-29 02:31:43.819472+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (39, 14, 'proposed', 'validated', '2026-11-29 02:31:43.820907+05:30', 'ann', 'looks right', 2, NULL, '2026-11-29 02:31:43.821544+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (40, 14, 'validated', 'executing', '2026-11-29 02:31:43.822948+05:30', 'w5', NULL, 2, NULL, '2026-11-29 02:31:43.824274+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (41, 14, 'executing', 'failed', '2026-11-29 02:31:43.826678+05:30', 'w5', 'the line was cut', 2, '{"record_id" : 8, "started_at" : "2026-11-28 21:01:43.822948", "completed_at" : "2026-11-28 21:01:43.826678", "success" : false, "error_message" : "the line was cut", "result_data" : null, "outcome" : "unknown", "cancel_requested_at" : null, "cancel_requested_by" : null, "cancel_reason" : null, "stop_generation" : null, "worker" : "w5", "lease_seconds" : 60, "last_seen_at" : "2026-11-28 21:01:43.822948", "lease_expires_at" : "2026-11-28 21:02:43.822948", "claim_key" : null}', '2026-11-29 02:31:43.82825+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (42, 15, NULL, 'proposed', '2026-11-29 02:31:43.851383+05:30', 'agent', 'it hangs — 100 %', 2, '{"ticket_id" : null, "action_name" : "restart", "action_type" : "subject", "parameters" : {"host":1,"é":[1e+16,-0.0]}, "reason" : "it hangs — 100 %", "proposed_at" : "2026-10-01 12:00:00.000000", "proposed_by" : "agent", "valid_until" : null, "retry_of" : null, "idempotency_key" : null, "on_behalf_of" : null}', '2026-11-29 02:31:43.852393+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (43, 15, 'proposed', 'validated', '2026-11-29 02:31:43.854521+05:30', 'ann', 'looks right', 2, NULL, '2026-11-29 02:31:43.855187+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (44, 15, 'validated', 'executing', '2026-11-29 02:31:43.857232+05:30', 'w5', NULL, 2, NULL, '2026-11-29 02:31:43.858663+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (45, 15, 'executing', 'failed', '2026-11-29 02:31:43.861522+05:30', 'w5', 'the line was cut', 2, '{"record_id" : 9, "started_at" : "2026-11-28 21:01:43.857232", "completed_at" : "2026-11-28 21:01:43.861522", "success" : false, "error_message" : "the line was cut", "result_data" : null, "outcome" : "unknown", "cancel_requested_at" : null, "cancel_requested_by" : null, "cancel_reason" : null, "stop_generation" : null, "worker" : "w5", "lease_seconds" : 60, "last_seen_at" : "2026-11-28 21:01:43.857232", "lease_expires_at" : "2026-11-28 21:02:43.857232", "claim_key" : null}', '2026-11-29 02:31:43.86305+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (46, 16, NULL, 'proposed', '2026-11-29 02:31:43.87015+05:30', 'agent', 'it hangs — 100 %', 2, '{"ticket_id" : null, "action_name" : "restart", "action_type" : "subject", "parameters" : {"host":1,"é":[1e+16,-0.0]}, "reason" : "it hangs — 100 %", "proposed_at" : "2026-10-01 12:00:00.000000", "proposed_by" : "agent", "valid_until" : null, "retry_of" : null, "idempotency_key" : null, "on_behalf_of" : null}', '2026-11-29 02:31:43.871083+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (47, 16, 'proposed', 'validated', '2026-11-29 02:31:43.873+05:30', 'ann', 'looks right', 2, NULL, '2026-11-29 02:31:43.873622+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (48, 16, 'validated', 'executing', '2026-11-29 02:31:43.875339+05:30', 'w5', NULL, 2, NULL, '2026-11-29 02:31:43.876662+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (49, 16, 'executing', 'failed', '2026-11-29 02:31:43.879493+05:30', 'w5', 'the line was cut', 2, '{"record_id" : 10, "started_at" : "2026-11-28 21:01:43.875339", "completed_at" : "2026-11-28 21:01:43.879493", "success" : false, "error_message" : "the line was cut", "result_data" : null, "outcome" : "unknown", "cancel_requested_at" : null, "cancel_requested_by" : null, "cancel_reason" : null, "stop_generation" : null, "worker" : "w5", "lease_seconds" : 60, "last_seen_at" : "2026-11-28 21:01:43.875339", "lease_expires_at" : "2026-11-28 21:02:43.875339", "claim_key" : null}', '2026-11-29 02:31:43.880509+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (50, 17, NULL, 'proposed', '2026-11-29 02:31:43.887137+05:30', 'agent', 'it hangs — 100 %', 2, '{"ticket_id" : null, "action_name" : "restart", "action_type" : "subject", "parameters" : {"host":1,"é":[1e+16,-0.0]}, "reason" : "it hangs — 100 %", "proposed_at" : "2026-10-01 12:00:00.000000", "proposed_by" : "agent", "valid_until" : null, "retry_of" : null, "idempotency_key" : null, "on_behalf_of" : null}', '2026-11-29 02:31:43.888036+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (51, 17, 'proposed', 'validated', '2026-11-29 02:31:43.88961+05:30', 'ann', 'looks right', 2, NULL, '2026-11-29 02:31:43.890229+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (52, 17, 'validated', 'executing', '2026-11-29 02:31:43.891813+05:30', 'w5', NULL, 2, NULL, '2026-11-29 02:31:43.893062+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (53, 17, 'executing', 'failed', '2026-11-29 02:31:43.89566+05:30', 'w5', 'the line was cut', 2, '{"record_id" : 11, "started_at" : "2026-11-28 21:01:43.891813", "completed_at" : "2026-11-28 21:01:43.895660", "success" : false, "error_message" : "the line was cut", "result_data" : null, "outcome" : "unknown", "cancel_requested_at" : null, "cancel_requested_by" : null, "cancel_reason" : null, "stop_generation" : null, "worker" : "w5", "lease_seconds" : 60, "last_seen_at" : "2026-11-28 21:01:43.891813", "lease_expires_at" : "2026-11-28 21:02:43.891813", "claim_key" : null}', '2026-11-29 02:31:43.896652+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (54, 18, NULL, 'proposed', '2026-11-29 02:31:43.902897+05:30', 'agent', 'it hangs — 100 %', 2, '{"ticket_id" : null, "action_name" : "restart", "action_type" : "subject", "parameters" : {"host":1,"é":[1e+16,-0.0]}, "reason" : "it hangs — 100 %", "proposed_at" : "2026-10-01 12:00:00.000000", "proposed_by" : "agent", "valid_until" : null, "retry_of" : 12, "idempotency_key" : "once", "on_behalf_of" : null}', '2026-11-29 02:31:43.904091+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (55, 19, NULL, 'proposed', '2026-11-29 02:31:43.928134+05:30', 'agent', 'it hangs — 100 %', 2, '{"ticket_id" : null, "action_name" : "restart", "action_type" : "subject", "parameters" : {"host":1,"é":[1e+16,-0.0]}, "reason" : "it hangs — 100 %", "proposed_at" : "2026-10-01 12:00:00.000000", "proposed_by" : "agent", "valid_until" : null, "retry_of" : null, "idempotency_key" : null, "on_behalf_of" : null}', '2026-11-29 02:31:43.929024+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (56, 19, 'proposed', 'validated', '2026-11-29 02:31:43.930486+05:30', 'ann', 'looks right', 2, NULL, '2026-11-29 02:31:43.931089+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (57, 19, 'validated', 'executing', '2026-11-29 02:31:43.932575+05:30', 'w6', NULL, 2, NULL, '2026-11-29 02:31:43.934002+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (58, 19, 'executing', 'completed', '2026-11-29 02:31:43.936611+05:30', 'w6', NULL, 2, '{"record_id" : 12, "started_at" : "2026-11-28 21:01:43.932575", "completed_at" : "2026-11-28 21:01:43.936611", "success" : true, "error_message" : null, "result_data" : null, "outcome" : "succeeded", "cancel_requested_at" : null, "cancel_requested_by" : null, "cancel_reason" : null, "stop_generation" : null, "worker" : null, "lease_seconds" : null, "last_seen_at" : null, "lease_expires_at" : null, "claim_key" : null}', '2026-11-29 02:31:43.937823+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (59, 20, NULL, 'proposed', '2026-11-29 02:31:44.012897+05:30', 'agent', 'it hangs — 100 %', 2, '{"ticket_id" : null, "action_name" : "reboot", "action_type" : "subject", "parameters" : {"host":1,"é":[1e+16,-0.0]}, "reason" : "it hangs — 100 %", "proposed_at" : "2026-10-01 12:00:00.000000", "proposed_by" : "agent", "valid_until" : null, "retry_of" : null, "idempotency_key" : null, "on_behalf_of" : "carl"}', '2026-11-29 02:31:44.013842+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (60, 21, NULL, 'proposed', '2026-11-29 02:31:44.015843+05:30', 'agent', 'it hangs — 100 %', 2, '{"ticket_id" : null, "action_name" : "reboot", "action_type" : "subject", "parameters" : {"host":1,"é":[1e+16,-0.0]}, "reason" : "it hangs — 100 %", "proposed_at" : "2026-10-01 12:00:00.000000", "proposed_by" : "agent", "valid_until" : null, "retry_of" : null, "idempotency_key" : null, "on_behalf_of" : "carl"}', '2026-11-29 02:31:44.016744+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (61, 22, NULL, 'proposed', '2026-11-29 02:31:44.019003+05:30', 'agent', 'it hangs — 100 %', 2, '{"ticket_id" : null, "action_name" : "reboot", "action_type" : "subject", "parameters" : {"host":1,"é":[1e+16,-0.0]}, "reason" : "it hangs — 100 %", "proposed_at" : "2026-10-01 12:00:00.000000", "proposed_by" : "agent", "valid_until" : null, "retry_of" : null, "idempotency_key" : null, "on_behalf_of" : "carl"}', '2026-11-29 02:31:44.019891+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (62, 23, NULL, 'proposed', '2026-11-29 02:31:44.022821+05:30', 'agent', 'it hangs — 100 %', 2, '{"ticket_id" : null, "action_name" : "reboot", "action_type" : "subject", "parameters" : {"host":1,"é":[1e+16,-0.0]}, "reason" : "it hangs — 100 %", "proposed_at" : "2026-10-01 12:00:00.000000", "proposed_by" : "agent", "valid_until" : null, "retry_of" : null, "idempotency_key" : null, "on_behalf_of" : "carl"}', '2026-11-29 02:31:44.023755+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (63, 24, NULL, 'proposed', '2026-11-29 02:31:44.026227+05:30', 'agent', 'it hangs — 100 %', 2, '{"ticket_id" : null, "action_name" : "reboot", "action_type" : "subject", "parameters" : {"host":1,"é":[1e+16,-0.0]}, "reason" : "it hangs — 100 %", "proposed_at" : "2026-10-01 12:00:00.000000", "proposed_by" : "agent", "valid_until" : null, "retry_of" : null, "idempotency_key" : null, "on_behalf_of" : "carl"}', '2026-11-29 02:31:44.027107+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (64, 20, 'proposed', 'validated', '2026-11-29 02:31:44.058574+05:30', 'emil', NULL, 2, NULL, '2026-11-29 02:31:44.065777+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (65, 21, 'proposed', 'validated', '2026-11-29 02:31:44.088017+05:30', 'emil', NULL, 2, NULL, '2026-11-29 02:31:44.092663+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (66, 20, 'validated', 'executing', '2026-11-29 02:31:44.103126+05:30', 'w7', NULL, 2, '{"policy" : "action_name=reboot", "version" : 2, "approvals" : [1,2,3]}', '2026-11-29 02:31:44.105532+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (67, 20, 'executing', 'completed', '2026-11-29 02:31:44.108644+05:30', 'w7', NULL, 2, '{"record_id" : 13, "started_at" : "2026-11-28 21:01:44.103126", "completed_at" : "2026-11-28 21:01:44.108644", "success" : true, "error_message" : null, "result_data" : {"up":true}, "outcome" : "succeeded", "cancel_requested_at" : null, "cancel_requested_by" : null, "cancel_reason" : null, "stop_generation" : null, "worker" : "w7", "lease_seconds" : 60, "last_seen_at" : "2026-11-28 21:01:44.103126", "lease_expires_at" : "2026-11-28 21:02:44.103126", "claim_key" : null}', '2026-11-29 02:31:44.10998+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (68, 22, 'proposed', 'cancelled', '2026-11-29 02:31:44.114995+05:30', 'ann', 'not today', 2, NULL, '2026-11-29 02:31:44.11659+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (69, 23, 'proposed', 'cancelled', '2026-11-29 02:31:44.124119+05:30', 'ann', 'the other one', 2, NULL, '2026-11-29 02:31:44.124857+05:30');
INSERT INTO public.action_events OVERRIDING SYSTEM VALUE VALUES (70, 25, NULL, 'proposed', '2026-11-29 02:31:44.12613+05:30', 'ann', 'the other one', 2, '{"ticket_id" : null, "action_name" : "reboot", "action_type" : "subject", "parameters" : {"host":2}, "reason" : "the other one", "proposed_at" : "2026-11-28 21:01:44.125435", "proposed_by" : "ann", "valid_until" : null, "retry_of" : 23, "idempotency_key" : null, "on_behalf_of" : "carl"}', '2026-11-29 02:31:44.127291+05:30');
INSERT INTO public.action_notes OVERRIDING SYSTEM VALUE VALUES (1, 13, 7, 'cancel_requested', 'executing', '2026-11-29 02:31:43.810646+05:30', 'ann', 'wait', 2, NULL);
INSERT INTO public.action_notes OVERRIDING SYSTEM VALUE VALUES (2, 14, 8, 'resolved', 'failed', '2026-11-29 02:31:43.84601+05:30', 'ann', 'I looked', 2, '{"finding" : "happened"}');
INSERT INTO public.action_notes OVERRIDING SYSTEM VALUE VALUES (3, 15, 9, 'resolved', 'failed', '2026-11-29 02:31:43.866181+05:30', 'ann', 'I looked', 2, '{"finding" : "did not happen"}');
INSERT INTO public.action_notes OVERRIDING SYSTEM VALUE VALUES (4, 16, 10, 'resolved', 'failed', '2026-11-29 02:31:43.883321+05:30', 'ann', 'I looked', 2, '{"finding" : "partly"}');
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (1, NULL, 'restart', 'subject', '{"host":1,"é":[1e+16,-0.0]}', 'it hangs — 100 %', 'cancelled', '2026-10-01 17:30:00+05:30', 'agent', 0, '2026-11-29 02:31:43.515076+05:30', 'ann', 'fire', '2026-11-29 02:31:43.453151+05:30', NULL, NULL, NULL, '2026-11-29 02:31:43.515076+05:30', NULL, NULL, NULL, NULL);
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (2, NULL, 'restart', 'subject', '{"host":1,"é":[1e+16,-0.0]}', 'it hangs — 100 %', 'cancelled', '2026-10-01 17:30:00+05:30', 'agent', 0, '2026-11-29 02:31:43.559557+05:30', 'w1', NULL, '2026-11-29 02:31:43.4637+05:30', '2026-11-29 02:31:43.477452+05:30', NULL, NULL, '2026-11-29 02:31:43.559557+05:30', NULL, NULL, NULL, NULL);
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (3, NULL, 'restart', 'subject', '{"host":1,"é":[1e+16,-0.0]}', 'it hangs — 100 %', 'cancelled', '2026-10-01 17:30:00+05:30', 'agent', 1, '2026-11-29 02:31:43.567588+05:30', 'ann', 'fire', NULL, NULL, NULL, NULL, '2026-11-29 02:31:43.567588+05:30', NULL, NULL, NULL, NULL);
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (4, 7, 'restart', 'subject', '{"host":1,"é":[1e+16,-0.0]}', 'it hangs — 100 %', 'proposed', '2026-10-01 17:30:00+05:30', 'agent', 1, '2026-11-29 02:31:43.592625+05:30', 'agent', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (5, 7, 'restart', 'subject', '{"host":1,"é":[1e+16,-0.0]}', 'it hangs — 100 %', 'validated', '2026-10-01 17:30:00+05:30', 'agent', 1, '2026-11-29 02:31:43.599974+05:30', 'ann', 'looks right', '2026-11-29 02:31:43.599974+05:30', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (6, NULL, 'restart', 'subject', '{"host":1,"é":[1e+16,-0.0]}', 'it hangs — 100 %', 'executing', '2026-10-01 17:30:00+05:30', 'agent', 1, '2026-11-29 02:31:43.609812+05:30', 'w1', NULL, '2026-11-29 02:31:43.60658+05:30', '2026-11-29 02:31:43.609812+05:30', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (7, NULL, 'restart', 'subject', '{"host":1,"é":[1e+16,-0.0]}', 'it hangs — 100 %', 'completed', '2026-10-01 17:30:00+05:30', 'agent', 1, '2026-11-29 02:31:43.632757+05:30', 'w2', NULL, '2026-11-29 02:31:43.617275+05:30', '2026-11-29 02:31:43.620795+05:30', '2026-11-29 02:31:43.632757+05:30', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (8, NULL, 'restart', 'subject', '{"host":1,"é":[1e+16,-0.0]}', 'it hangs — 100 %', 'failed', '2026-10-01 17:30:00+05:30', 'agent', 1, '2026-11-29 02:31:43.654767+05:30', 'w2', NULL, '2026-11-29 02:31:43.640666+05:30', '2026-11-29 02:31:43.644117+05:30', NULL, '2026-11-29 02:31:43.654767+05:30', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (9, NULL, 'restart', 'subject', '{"host":1,"é":[1e+16,-0.0]}', 'it hangs — 100 %', 'cancelled', '2026-10-01 17:30:00+05:30', 'agent', 1, '2026-11-29 02:31:43.665107+05:30', 'ann', 'no', NULL, NULL, NULL, NULL, '2026-11-29 02:31:43.665107+05:30', NULL, NULL, NULL, NULL);
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (10, 9, 'restart', 'subject', '{"host":1,"é":[1e+16,-0.0]}', 'it hangs — 100 %', 'cancelled', '2026-10-01 17:30:00+05:30', 'agent', 2, '2026-11-29 02:31:43.769012+05:30', 'ann', 'hall 3', NULL, NULL, NULL, NULL, '2026-11-29 02:31:43.769012+05:30', NULL, NULL, NULL, NULL);
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (11, NULL, 'restart', 'subject', '{"host":1,"é":[1e+16,-0.0]}', 'it hangs — 100 %', 'executing', '2026-10-01 17:30:00+05:30', 'agent', 2, '2026-11-29 02:31:43.779852+05:30', 'w3', NULL, '2026-11-29 02:31:43.775527+05:30', '2026-11-29 02:31:43.779852+05:30', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (12, NULL, 'restart', 'subject', '{"host":1,"é":[1e+16,-0.0]}', 'it hangs — 100 %', 'completed', '2026-10-01 17:30:00+05:30', 'agent', 2, '2026-11-29 02:31:43.793818+05:30', 'w3', NULL, '2026-11-29 02:31:43.786206+05:30', '2026-11-29 02:31:43.78963+05:30', '2026-11-29 02:31:43.793818+05:30', NULL, NULL, '2126-09-07 17:30:00+05:30', NULL, NULL, NULL);
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (13, NULL, 'restart', 'subject', '{"host":1,"é":[1e+16,-0.0]}', 'it hangs — 100 %', 'executing', '2026-10-01 17:30:00+05:30', 'agent', 2, '2026-11-29 02:31:43.801619+05:30', 'w4', NULL, '2026-11-29 02:31:43.799787+05:30', '2026-11-29 02:31:43.801619+05:30', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (14, NULL, 'restart', 'subject', '{"host":1,"é":[1e+16,-0.0]}', 'it hangs — 100 %', 'failed', '2026-10-01 17:30:00+05:30', 'agent', 2, '2026-11-29 02:31:43.826678+05:30', 'w5', 'the line was cut', '2026-11-29 02:31:43.820907+05:30', '2026-11-29 02:31:43.822948+05:30', NULL, '2026-11-29 02:31:43.826678+05:30', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (15, NULL, 'restart', 'subject', '{"host":1,"é":[1e+16,-0.0]}', 'it hangs — 100 %', 'failed', '2026-10-01 17:30:00+05:30', 'agent', 2, '2026-11-29 02:31:43.861522+05:30', 'w5', 'the line was cut', '2026-11-29 02:31:43.854521+05:30', '2026-11-29 02:31:43.857232+05:30', NULL, '2026-11-29 02:31:43.861522+05:30', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (16, NULL, 'restart', 'subject', '{"host":1,"é":[1e+16,-0.0]}', 'it hangs — 100 %', 'failed', '2026-10-01 17:30:00+05:30', 'agent', 2, '2026-11-29 02:31:43.879493+05:30', 'w5', 'the line was cut', '2026-11-29 02:31:43.873+05:30', '2026-11-29 02:31:43.875339+05:30', NULL, '2026-11-29 02:31:43.879493+05:30', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (17, NULL, 'restart', 'subject', '{"host":1,"é":[1e+16,-0.0]}', 'it hangs — 100 %', 'failed', '2026-10-01 17:30:00+05:30', 'agent', 2, '2026-11-29 02:31:43.89566+05:30', 'w5', 'the line was cut', '2026-11-29 02:31:43.88961+05:30', '2026-11-29 02:31:43.891813+05:30', NULL, '2026-11-29 02:31:43.89566+05:30', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (18, NULL, 'restart', 'subject', '{"host":1,"é":[1e+16,-0.0]}', 'it hangs — 100 %', 'proposed', '2026-10-01 17:30:00+05:30', 'agent', 2, '2026-11-29 02:31:43.902897+05:30', 'agent', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 12, 'once', NULL);
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (19, NULL, 'restart', 'subject', '{"host":1,"é":[1e+16,-0.0]}', 'it hangs — 100 %', 'completed', '2026-10-01 17:30:00+05:30', 'agent', 2, '2026-11-29 02:31:43.936611+05:30', 'w6', NULL, '2026-11-29 02:31:43.930486+05:30', '2026-11-29 02:31:43.932575+05:30', '2026-11-29 02:31:43.936611+05:30', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (24, NULL, 'reboot', 'subject', '{"host":1,"é":[1e+16,-0.0]}', 'it hangs — 100 %', 'proposed', '2026-10-01 17:30:00+05:30', 'agent', 2, '2026-11-29 02:31:44.026227+05:30', 'agent', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'carl');
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (21, NULL, 'reboot', 'subject', '{"host":1,"é":[1e+16,-0.0]}', 'it hangs — 100 %', 'validated', '2026-10-01 17:30:00+05:30', 'agent', 2, '2026-11-29 02:31:44.088017+05:30', 'emil', NULL, '2026-11-29 02:31:44.088017+05:30', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'carl');
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (20, NULL, 'reboot', 'subject', '{"host":1,"é":[1e+16,-0.0]}', 'it hangs — 100 %', 'completed', '2026-10-01 17:30:00+05:30', 'agent', 2, '2026-11-29 02:31:44.108644+05:30', 'w7', NULL, '2026-11-29 02:31:44.058574+05:30', '2026-11-29 02:31:44.103126+05:30', '2026-11-29 02:31:44.108644+05:30', NULL, NULL, NULL, NULL, NULL, 'carl');
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (22, NULL, 'reboot', 'subject', '{"host":1,"é":[1e+16,-0.0]}', 'it hangs — 100 %', 'cancelled', '2026-10-01 17:30:00+05:30', 'agent', 2, '2026-11-29 02:31:44.114995+05:30', 'ann', 'not today', NULL, NULL, NULL, NULL, '2026-11-29 02:31:44.114995+05:30', NULL, NULL, NULL, 'carl');
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (23, NULL, 'reboot', 'subject', '{"host":1,"é":[1e+16,-0.0]}', 'it hangs — 100 %', 'cancelled', '2026-10-01 17:30:00+05:30', 'agent', 2, '2026-11-29 02:31:44.124119+05:30', 'ann', 'the other one', NULL, NULL, NULL, NULL, '2026-11-29 02:31:44.124119+05:30', NULL, NULL, NULL, 'carl');
INSERT INTO public.action_proposals OVERRIDING SYSTEM VALUE VALUES (25, NULL, 'reboot', 'subject', '{"host":2}', 'the other one', 'proposed', '2026-11-29 02:31:44.125435+05:30', 'ann', 2, '2026-11-29 02:31:44.12613+05:30', 'ann', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 23, NULL, 'carl');
INSERT INTO public.action_prunes OVERRIDING SYSTEM VALUE VALUES (1, '1926-10-26 17:30:00+05:30', 'ann', 'nothing is that old', '2026-11-29 02:31:43.920689+05:30', true);
INSERT INTO public.action_records OVERRIDING SYSTEM VALUE VALUES (1, 2, '2026-11-29 02:31:43.477452+05:30', '2026-11-29 02:31:43.559557+05:30', false, NULL, NULL, 'stopped', NULL, NULL, NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.action_records OVERRIDING SYSTEM VALUE VALUES (2, 6, '2026-11-29 02:31:43.609812+05:30', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.action_records OVERRIDING SYSTEM VALUE VALUES (3, 7, '2026-11-29 02:31:43.620795+05:30', '2026-11-29 02:31:43.632757+05:30', true, NULL, '{"n":1.5}', 'succeeded', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.action_records OVERRIDING SYSTEM VALUE VALUES (4, 8, '2026-11-29 02:31:43.644117+05:30', '2026-11-29 02:31:43.654767+05:30', false, NULL, '{"n":1.5}', 'failed', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.action_records OVERRIDING SYSTEM VALUE VALUES (5, 11, '2026-11-29 02:31:43.779852+05:30', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'w3', 60, '2026-11-29 02:31:43.779852+05:30', '2026-11-29 02:32:43.779852+05:30', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.action_records OVERRIDING SYSTEM VALUE VALUES (6, 12, '2026-11-29 02:31:43.78963+05:30', '2026-11-29 02:31:43.793818+05:30', true, NULL, '{"moved":2}', 'succeeded', NULL, NULL, NULL, NULL, 'w3', 60, '2026-11-29 02:31:43.78963+05:30', '2026-11-29 02:32:43.78963+05:30', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.action_records OVERRIDING SYSTEM VALUE VALUES (7, 13, '2026-11-29 02:31:43.801619+05:30', NULL, NULL, NULL, NULL, NULL, '2026-11-29 02:31:43.810646+05:30', 'ann', 'wait', NULL, 'w4', 60, '2026-11-29 02:31:43.801619+05:30', '2026-11-29 02:32:43.801619+05:30', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.action_records OVERRIDING SYSTEM VALUE VALUES (8, 14, '2026-11-29 02:31:43.822948+05:30', '2026-11-29 02:31:43.826678+05:30', false, 'the line was cut', NULL, 'unknown', NULL, NULL, NULL, NULL, 'w5', 60, '2026-11-29 02:31:43.822948+05:30', '2026-11-29 02:32:43.822948+05:30', NULL, 'happened', '2026-11-29 02:31:43.84601+05:30', 'ann', 'I looked');
INSERT INTO public.action_records OVERRIDING SYSTEM VALUE VALUES (9, 15, '2026-11-29 02:31:43.857232+05:30', '2026-11-29 02:31:43.861522+05:30', false, 'the line was cut', NULL, 'unknown', NULL, NULL, NULL, NULL, 'w5', 60, '2026-11-29 02:31:43.857232+05:30', '2026-11-29 02:32:43.857232+05:30', NULL, 'did not happen', '2026-11-29 02:31:43.866181+05:30', 'ann', 'I looked');
INSERT INTO public.action_records OVERRIDING SYSTEM VALUE VALUES (10, 16, '2026-11-29 02:31:43.875339+05:30', '2026-11-29 02:31:43.879493+05:30', false, 'the line was cut', NULL, 'unknown', NULL, NULL, NULL, NULL, 'w5', 60, '2026-11-29 02:31:43.875339+05:30', '2026-11-29 02:32:43.875339+05:30', NULL, 'partly', '2026-11-29 02:31:43.883321+05:30', 'ann', 'I looked');
INSERT INTO public.action_records OVERRIDING SYSTEM VALUE VALUES (11, 17, '2026-11-29 02:31:43.891813+05:30', '2026-11-29 02:31:43.89566+05:30', false, 'the line was cut', NULL, 'unknown', NULL, NULL, NULL, NULL, 'w5', 60, '2026-11-29 02:31:43.891813+05:30', '2026-11-29 02:32:43.891813+05:30', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.action_records OVERRIDING SYSTEM VALUE VALUES (12, 19, '2026-11-29 02:31:43.932575+05:30', '2026-11-29 02:31:43.936611+05:30', true, NULL, NULL, 'succeeded', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.action_records OVERRIDING SYSTEM VALUE VALUES (13, 20, '2026-11-29 02:31:44.103126+05:30', '2026-11-29 02:31:44.108644+05:30', true, NULL, '{"up":true}', 'succeeded', NULL, NULL, NULL, NULL, 'w7', 60, '2026-11-29 02:31:44.103126+05:30', '2026-11-29 02:32:44.103126+05:30', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.approval_policies VALUES ('action_name=reboot', '', 2, 'proposer', true, NULL, true, 1, '2026-11-29 02:31:43.950721+05:30', 'ann', 'two people, one of security');
INSERT INTO public.approval_policies VALUES ('action_name=reboot', 'security', 1, 'principal', false, 30000000, true, 2, '2026-11-29 02:31:43.956227+05:30', 'ann', 'two people, one of security');
INSERT INTO public.approval_policies VALUES ('action_name=wipe', '', 2, 'proposer', true, NULL, false, 5, '2026-11-29 02:31:43.98858+05:30', 'ann', 'one is enough');
INSERT INTO public.approval_policies VALUES ('action_name=wipe', 'security', 1, 'principal', false, 30000000, true, 6, '2026-11-29 02:31:43.990755+05:30', 'ann', 'one is enough');
INSERT INTO public.approval_policies VALUES ('action_name=drill', '', 1, 'proposer', true, NULL, false, 8, '2026-11-29 02:31:44.008624+05:30', 'ann', 'over');
INSERT INTO public.approval_policy_events OVERRIDING SYSTEM VALUE VALUES (1, 1, 'action_name=reboot', '', 2, 'proposer', true, NULL, true, '2026-11-29 02:31:43.950721+05:30', 'ann', 'two people, one of security');
INSERT INTO public.approval_policy_events OVERRIDING SYSTEM VALUE VALUES (2, 2, 'action_name=reboot', 'security', 1, 'principal', false, 30000000, true, '2026-11-29 02:31:43.956227+05:30', 'ann', 'two people, one of security');
INSERT INTO public.approval_policy_events OVERRIDING SYSTEM VALUE VALUES (3, 3, 'action_name=wipe', '', 2, 'proposer', true, NULL, true, '2026-11-29 02:31:43.974899+05:30', 'ann', 'the same');
INSERT INTO public.approval_policy_events OVERRIDING SYSTEM VALUE VALUES (4, 4, 'action_name=wipe', 'security', 1, 'principal', false, 30000000, true, '2026-11-29 02:31:43.977976+05:30', 'ann', 'the same');
INSERT INTO public.approval_policy_events OVERRIDING SYSTEM VALUE VALUES (5, 5, 'action_name=wipe', '', 2, 'proposer', true, NULL, false, '2026-11-29 02:31:43.98858+05:30', 'ann', 'one is enough');
INSERT INTO public.approval_policy_events OVERRIDING SYSTEM VALUE VALUES (6, 6, 'action_name=wipe', 'security', 1, 'principal', false, 30000000, true, '2026-11-29 02:31:43.990755+05:30', 'ann', 'one is enough');
INSERT INTO public.approval_policy_events OVERRIDING SYSTEM VALUE VALUES (7, 7, 'action_name=drill', '', 1, 'proposer', true, NULL, true, '2026-11-29 02:31:44.000104+05:30', 'ann', 'a trial');
INSERT INTO public.approval_policy_events OVERRIDING SYSTEM VALUE VALUES (8, 8, 'action_name=drill', '', 1, 'proposer', true, NULL, false, '2026-11-29 02:31:44.008624+05:30', 'ann', 'over');
INSERT INTO public.kill_switch VALUES ('everything', 1, '2026-11-29 02:31:43.502312+05:30', 'ann', 'fire', '2026-11-29 02:31:43.585233+05:30', 'ann', 'out');
INSERT INTO public.kill_switch VALUES ('ticket_id=9', 2, '2026-11-29 02:31:43.690774+05:30', 'ann', 'hall 3', NULL, NULL, NULL);
INSERT INTO public.kill_switch_events OVERRIDING SYSTEM VALUE VALUES (1, 1, 'everything', 'engaged', '2026-11-29 02:31:43.502312+05:30', 'ann', 'fire');
INSERT INTO public.kill_switch_events OVERRIDING SYSTEM VALUE VALUES (2, 1, 'everything', 'released', '2026-11-29 02:31:43.585233+05:30', 'ann', 'out');
INSERT INTO public.kill_switch_events OVERRIDING SYSTEM VALUE VALUES (3, 2, 'ticket_id=9', 'engaged', '2026-11-29 02:31:43.690774+05:30', 'ann', 'hall 3');
INSERT INTO public.operator_core_version VALUES ('0004');
SELECT pg_catalog.setval('public.action_approvals_id_seq', 10, true);
SELECT pg_catalog.setval('public.action_events_id_seq', 70, true);
SELECT pg_catalog.setval('public.action_notes_id_seq', 4, true);
SELECT pg_catalog.setval('public.action_proposals_id_seq', 25, true);
SELECT pg_catalog.setval('public.action_prunes_id_seq', 1, true);
SELECT pg_catalog.setval('public.action_records_id_seq', 13, true);
SELECT pg_catalog.setval('public.approval_policy_events_id_seq', 8, true);
SELECT pg_catalog.setval('public.kill_switch_events_id_seq', 3, true);
ALTER TABLE ONLY public.operator_core_version
    ADD CONSTRAINT operator_core_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.action_approvals
    ADD CONSTRAINT pk_action_approvals PRIMARY KEY (id);
ALTER TABLE ONLY public.action_events
    ADD CONSTRAINT pk_action_events PRIMARY KEY (id);
ALTER TABLE ONLY public.action_notes
    ADD CONSTRAINT pk_action_notes PRIMARY KEY (id);
ALTER TABLE ONLY public.action_proposals
    ADD CONSTRAINT pk_action_proposals PRIMARY KEY (id);
ALTER TABLE ONLY public.action_prunes
    ADD CONSTRAINT pk_action_prunes PRIMARY KEY (id);
ALTER TABLE ONLY public.action_records
    ADD CONSTRAINT pk_action_records PRIMARY KEY (id);
ALTER TABLE ONLY public.approval_policies
    ADD CONSTRAINT pk_approval_policies PRIMARY KEY (scope, role);
ALTER TABLE ONLY public.approval_policy_events
    ADD CONSTRAINT pk_approval_policy_events PRIMARY KEY (id);
ALTER TABLE ONLY public.kill_switch
    ADD CONSTRAINT pk_kill_switch PRIMARY KEY (scope);
ALTER TABLE ONLY public.kill_switch_barrier
    ADD CONSTRAINT pk_kill_switch_barrier PRIMARY KEY (id);
ALTER TABLE ONLY public.kill_switch_events
    ADD CONSTRAINT pk_kill_switch_events PRIMARY KEY (id);
ALTER TABLE ONLY public.action_approvals
    ADD CONSTRAINT uq_action_approvals_revokes UNIQUE (revokes);
ALTER TABLE ONLY public.action_events
    ADD CONSTRAINT uq_action_events_proposal_id_to_status UNIQUE (proposal_id, to_status);
ALTER TABLE ONLY public.action_records
    ADD CONSTRAINT uq_action_records_proposal_id UNIQUE (proposal_id);
ALTER TABLE ONLY public.approval_policies
    ADD CONSTRAINT uq_approval_policies_version UNIQUE (version);
ALTER TABLE ONLY public.approval_policy_events
    ADD CONSTRAINT uq_approval_policy_events_version UNIQUE (version);
ALTER TABLE ONLY public.kill_switch_events
    ADD CONSTRAINT uq_kill_switch_events_generation_change UNIQUE (generation, change);
ALTER TABLE ONLY public.kill_switch
    ADD CONSTRAINT uq_kill_switch_generation UNIQUE (generation);
CREATE INDEX ix_action_approvals_proposal_id ON public.action_approvals USING btree (proposal_id, id);
CREATE INDEX ix_action_notes_proposal_id ON public.action_notes USING btree (proposal_id);
CREATE INDEX ix_action_proposals_open ON public.action_proposals USING btree (status, id) WHERE ((status = 'proposed'::text) OR (status = 'validated'::text) OR (status = 'executing'::text));
CREATE INDEX ix_action_proposals_ticket_id ON public.action_proposals USING btree (ticket_id, id) WHERE (ticket_id IS NOT NULL);
CREATE INDEX ix_action_proposals_valid_until ON public.action_proposals USING btree (valid_until) WHERE (((status = 'proposed'::text) OR (status = 'validated'::text)) AND (valid_until IS NOT NULL));
CREATE INDEX ix_action_proposals_validated ON public.action_proposals USING btree (id) WHERE (status = 'validated'::text);
CREATE INDEX ix_action_records_stop_generation ON public.action_records USING btree (stop_generation) WHERE (stop_generation IS NOT NULL);
CREATE INDEX ix_action_records_unsettled ON public.action_records USING btree (id) WHERE ((outcome = 'unknown'::text) AND (finding IS NULL));
CREATE UNIQUE INDEX uq_action_notes_record_id ON public.action_notes USING btree (record_id, kind) WHERE (kind <> 'reported_late'::text);
CREATE UNIQUE INDEX uq_action_proposals_idempotency_key ON public.action_proposals USING btree (idempotency_key) WHERE (idempotency_key IS NOT NULL);
CREATE UNIQUE INDEX uq_action_records_worker ON public.action_records USING btree (worker, claim_key) WHERE (outcome IS NULL);
CREATE TRIGGER operator_core_approval_policies_change BEFORE INSERT OR UPDATE ON public.approval_policies FOR EACH ROW EXECUTE FUNCTION public.operator_core_policies_change();
CREATE TRIGGER operator_core_approval_policies_delete BEFORE DELETE ON public.approval_policies FOR EACH ROW EXECUTE FUNCTION public.operator_core_refuse_always();
CREATE TRIGGER operator_core_approval_policies_truncate BEFORE TRUNCATE ON public.approval_policies FOR EACH STATEMENT EXECUTE FUNCTION public.operator_core_refuse_always();
CREATE TRIGGER operator_core_approval_policies_written AFTER INSERT OR UPDATE ON public.approval_policies FOR EACH ROW EXECUTE FUNCTION public.operator_core_write_policy_event();
CREATE TRIGGER operator_core_approval_policy_events_insert BEFORE INSERT ON public.approval_policy_events FOR EACH ROW EXECUTE FUNCTION public.operator_core_policy_events_insert();
CREATE TRIGGER operator_core_approval_policy_events_keep BEFORE DELETE OR UPDATE ON public.approval_policy_events FOR EACH ROW EXECUTE FUNCTION public.operator_core_refuse_always();
CREATE TRIGGER operator_core_approval_policy_events_truncate BEFORE TRUNCATE ON public.approval_policy_events FOR EACH STATEMENT EXECUTE FUNCTION public.operator_core_refuse_always();
CREATE TRIGGER operator_core_approvals_insert BEFORE INSERT ON public.action_approvals FOR EACH ROW EXECUTE FUNCTION public.operator_core_approvals_insert();
CREATE TRIGGER operator_core_approvals_keep BEFORE DELETE OR UPDATE ON public.action_approvals FOR EACH ROW EXECUTE FUNCTION public.operator_core_events_keep();
CREATE TRIGGER operator_core_approvals_truncate BEFORE TRUNCATE ON public.action_approvals FOR EACH STATEMENT EXECUTE FUNCTION public.operator_core_refuse_always();
CREATE TRIGGER operator_core_events_insert BEFORE INSERT ON public.action_events FOR EACH ROW EXECUTE FUNCTION public.operator_core_events_insert();
CREATE TRIGGER operator_core_events_keep BEFORE DELETE OR UPDATE ON public.action_events FOR EACH ROW EXECUTE FUNCTION public.operator_core_events_keep();
CREATE TRIGGER operator_core_events_truncate BEFORE TRUNCATE ON public.action_events FOR EACH STATEMENT EXECUTE FUNCTION public.operator_core_refuse_always();
CREATE TRIGGER operator_core_kill_switch_change BEFORE INSERT OR UPDATE ON public.kill_switch FOR EACH ROW EXECUTE FUNCTION public.operator_core_kill_switch_change();
CREATE TRIGGER operator_core_kill_switch_counter BEFORE INSERT OR UPDATE ON public.kill_switch FOR EACH STATEMENT EXECUTE FUNCTION public.operator_core_kill_switch_counter();
CREATE TRIGGER operator_core_kill_switch_delete BEFORE DELETE ON public.kill_switch FOR EACH ROW EXECUTE FUNCTION public.operator_core_refuse_always();
CREATE TRIGGER operator_core_kill_switch_events_insert BEFORE INSERT ON public.kill_switch_events FOR EACH ROW EXECUTE FUNCTION public.operator_core_kill_switch_events_insert();
CREATE TRIGGER operator_core_kill_switch_events_keep BEFORE DELETE OR UPDATE ON public.kill_switch_events FOR EACH ROW EXECUTE FUNCTION public.operator_core_refuse_always();
CREATE TRIGGER operator_core_kill_switch_events_truncate BEFORE TRUNCATE ON public.kill_switch_events FOR EACH STATEMENT EXECUTE FUNCTION public.operator_core_refuse_always();
CREATE TRIGGER operator_core_kill_switch_truncate BEFORE TRUNCATE ON public.kill_switch FOR EACH STATEMENT EXECUTE FUNCTION public.operator_core_refuse_always();
CREATE TRIGGER operator_core_kill_switch_written AFTER INSERT OR UPDATE ON public.kill_switch FOR EACH ROW EXECUTE FUNCTION public.operator_core_write_kill_switch_event();
CREATE TRIGGER operator_core_notes_insert BEFORE INSERT ON public.action_notes FOR EACH ROW EXECUTE FUNCTION public.operator_core_notes_insert();
CREATE TRIGGER operator_core_notes_keep BEFORE DELETE OR UPDATE ON public.action_notes FOR EACH ROW EXECUTE FUNCTION public.operator_core_events_keep();
CREATE TRIGGER operator_core_notes_truncate BEFORE TRUNCATE ON public.action_notes FOR EACH STATEMENT EXECUTE FUNCTION public.operator_core_refuse_always();
CREATE TRIGGER operator_core_proposals_delete BEFORE DELETE ON public.action_proposals FOR EACH ROW EXECUTE FUNCTION public.operator_core_proposals_delete();
CREATE TRIGGER operator_core_proposals_insert BEFORE INSERT ON public.action_proposals FOR EACH ROW EXECUTE FUNCTION public.operator_core_proposals_insert();
CREATE TRIGGER operator_core_proposals_truncate BEFORE TRUNCATE ON public.action_proposals FOR EACH STATEMENT EXECUTE FUNCTION public.operator_core_refuse_always();
CREATE TRIGGER operator_core_proposals_update BEFORE UPDATE ON public.action_proposals FOR EACH ROW EXECUTE FUNCTION public.operator_core_proposals_update();
CREATE TRIGGER operator_core_proposals_written AFTER INSERT OR UPDATE ON public.action_proposals FOR EACH ROW EXECUTE FUNCTION public.operator_core_write_event();
CREATE TRIGGER operator_core_prunes_insert BEFORE INSERT ON public.action_prunes FOR EACH ROW EXECUTE FUNCTION public.operator_core_prunes_insert();
CREATE TRIGGER operator_core_prunes_keep BEFORE DELETE OR UPDATE ON public.action_prunes FOR EACH ROW EXECUTE FUNCTION public.operator_core_refuse_always();
CREATE TRIGGER operator_core_prunes_truncate BEFORE TRUNCATE ON public.action_prunes FOR EACH STATEMENT EXECUTE FUNCTION public.operator_core_refuse_always();
CREATE TRIGGER operator_core_records_delete BEFORE DELETE ON public.action_records FOR EACH ROW EXECUTE FUNCTION public.operator_core_records_delete();
CREATE TRIGGER operator_core_records_insert BEFORE INSERT ON public.action_records FOR EACH ROW EXECUTE FUNCTION public.operator_core_records_insert();
CREATE TRIGGER operator_core_records_truncate BEFORE TRUNCATE ON public.action_records FOR EACH STATEMENT EXECUTE FUNCTION public.operator_core_refuse_always();
CREATE TRIGGER operator_core_records_update BEFORE UPDATE ON public.action_records FOR EACH ROW EXECUTE FUNCTION public.operator_core_records_update();
CREATE TRIGGER operator_core_records_written AFTER UPDATE ON public.action_records FOR EACH ROW EXECUTE FUNCTION public.operator_core_write_note();
ALTER TABLE ONLY public.action_records
    ADD CONSTRAINT fk_action_records_proposal_id_action_proposals FOREIGN KEY (proposal_id) REFERENCES public.action_proposals(id);
REVOKE ALL ON FUNCTION public.operator_core_approvals_insert() FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_approve(decided bigint, approver text, approver_kind text, approver_role text, decision_reason text, seen_digest text, lasting double precision) FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_barrier() FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_engage(stop_scope text, stop_by text, stop_reason text) FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_events_insert() FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_events_keep() FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_json_unreadable(document text) FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_kill_switch_change() FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_kill_switch_counter() FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_kill_switch_events_insert() FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_lacks_approval(looks boolean, number bigint, name text, proposer text, principal text) FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_notes_insert() FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_policies_change() FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_policy_events_insert() FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_proposals_delete() FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_proposals_insert() FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_proposals_update() FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_prunes_insert() FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_records_delete() FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_records_insert() FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_records_update() FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_refuse_always() FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_reject(decided bigint, approver text, approver_kind text, approver_role text, decision_reason text, seen_digest text, replacement bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_revoke(revoked bigint, approver text, approver_kind text, approver_role text, decision_reason text) FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_sweep(swept_generation bigint, sweep_rows integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_write_event() FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_write_kill_switch_event() FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_write_note() FROM PUBLIC;
REVOKE ALL ON FUNCTION public.operator_core_write_policy_event() FROM PUBLIC;
