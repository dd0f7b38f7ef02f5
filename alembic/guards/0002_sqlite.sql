-- The guards of revision 0002, frozen; a line `-- next` stands between two statements.
CREATE TRIGGER operator_core_proposals_insert BEFORE INSERT ON action_proposals
BEGIN
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE EXISTS (SELECT 1 FROM action_proposals AS o WHERE o.id = NEW.id OR o.idempotency_key = NEW.idempotency_key);
  SELECT RAISE(ABORT, 'OC005: the latch cannot be read, so nothing is proposed or started') WHERE NOT (EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'kill_switch') AND EXISTS (SELECT 1 FROM kill_switch AS k WHERE k.scope = 'everything'));
  SELECT RAISE(ABORT, 'OC001: this step is not in the table of steps') WHERE NEW.status NOT IN ('proposed', 'cancelled');
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE NEW.validated_at IS NOT NULL OR NEW.executing_at IS NOT NULL OR NEW.completed_at IS NOT NULL OR NEW.failed_at IS NOT NULL OR CASE WHEN json_valid(NEW.parameters) THEN json_type(NEW.parameters) <> 'object' ELSE 1 END;
  SELECT RAISE(ABORT, 'OC009: only what is finished can be tried again') WHERE NEW.retry_of IS NOT NULL AND NOT EXISTS (SELECT 1 FROM action_proposals AS o WHERE o.id = NEW.retry_of AND o.status IN ('completed', 'failed', 'cancelled'));
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE (NEW.proposed_at IS NOT NULL AND (strftime('%Y-%m-%d %H:%M:%S', substr(NEW.proposed_at, 1, 19)) IS NOT substr(NEW.proposed_at, 1, 19) OR substr(NEW.proposed_at, 20) NOT GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]' OR NEW.proposed_at NOT BETWEEN '0001-01-02 00:00:00' AND '9999-12-31 00:00:00')) OR (NEW.status_at IS NOT NULL AND (strftime('%Y-%m-%d %H:%M:%S', substr(NEW.status_at, 1, 19)) IS NOT substr(NEW.status_at, 1, 19) OR substr(NEW.status_at, 20) NOT GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]' OR NEW.status_at NOT BETWEEN '0001-01-02 00:00:00' AND '9999-12-31 00:00:00')) OR (NEW.valid_until IS NOT NULL AND (strftime('%Y-%m-%d %H:%M:%S', substr(NEW.valid_until, 1, 19)) IS NOT substr(NEW.valid_until, 1, 19) OR substr(NEW.valid_until, 20) NOT GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]' OR NEW.valid_until NOT BETWEEN '0001-01-02 00:00:00' AND '9999-12-31 00:00:00'));
  SELECT RAISE(ABORT, 'OC003: the kill switch bars this') WHERE NEW.generation IS NOT (SELECT max(k.generation) FROM kill_switch AS k);
  SELECT RAISE(ABORT, 'OC003: the kill switch bars this') WHERE (NEW.status = 'cancelled') IS NOT (EXISTS (SELECT 1 FROM kill_switch AS k WHERE k.scope IN ('everything', 'action_type=' || CAST(NEW.action_type AS TEXT), 'action_name=' || CAST(NEW.action_name AS TEXT), 'proposed_by=' || CAST(NEW.proposed_by AS TEXT), 'ticket_id=' || CAST(NEW.ticket_id AS TEXT)) AND k.engaged_at IS NOT NULL AND k.released_at IS NULL));
END
-- next
CREATE TRIGGER operator_core_proposals_update BEFORE UPDATE ON action_proposals
BEGIN
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE NEW.id IS NOT OLD.id OR NEW.ticket_id IS NOT OLD.ticket_id OR NEW.action_name IS NOT OLD.action_name OR NEW.action_type IS NOT OLD.action_type OR NEW.parameters IS NOT OLD.parameters OR NEW.reason IS NOT OLD.reason OR NEW.proposed_at IS NOT OLD.proposed_at OR NEW.proposed_by IS NOT OLD.proposed_by OR NEW.generation IS NOT OLD.generation OR NEW.valid_until IS NOT OLD.valid_until OR NEW.retry_of IS NOT OLD.retry_of OR NEW.idempotency_key IS NOT OLD.idempotency_key;
  SELECT RAISE(ABORT, 'OC001: this step is not in the table of steps') WHERE NOT ((OLD.status = 'proposed' AND NEW.status IN ('validated', 'cancelled')) OR (OLD.status = 'validated' AND NEW.status IN ('executing', 'cancelled')) OR (OLD.status = 'executing' AND NEW.status IN ('completed', 'failed', 'cancelled')));
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE (NEW.validated_at IS NOT OLD.validated_at AND NEW.status <> 'validated') OR (NEW.executing_at IS NOT OLD.executing_at AND NEW.status <> 'executing') OR (NEW.completed_at IS NOT OLD.completed_at AND NEW.status <> 'completed') OR (NEW.failed_at IS NOT OLD.failed_at AND NEW.status <> 'failed') OR (NEW.cancelled_at IS NOT OLD.cancelled_at AND NEW.status <> 'cancelled');
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE (NEW.status_at IS NOT NULL AND (strftime('%Y-%m-%d %H:%M:%S', substr(NEW.status_at, 1, 19)) IS NOT substr(NEW.status_at, 1, 19) OR substr(NEW.status_at, 20) NOT GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]' OR NEW.status_at NOT BETWEEN '0001-01-02 00:00:00' AND '9999-12-31 00:00:00'));
  SELECT RAISE(ABORT, 'OC008: its time to start is over') WHERE NEW.status = 'executing' AND NEW.valid_until <= strftime('%Y-%m-%d %H:%M:%f', 'now') || '000';
  SELECT RAISE(ABORT, 'OC005: the latch cannot be read, so nothing is proposed or started') WHERE NEW.status = 'executing' AND NOT (EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'kill_switch') AND EXISTS (SELECT 1 FROM kill_switch AS k WHERE k.scope = 'everything'));
  SELECT RAISE(ABORT, 'OC003: the kill switch bars this') WHERE NEW.status = 'executing' AND EXISTS (SELECT 1 FROM kill_switch AS k WHERE k.scope IN ('everything', 'action_type=' || CAST(NEW.action_type AS TEXT), 'action_name=' || CAST(NEW.action_name AS TEXT), 'proposed_by=' || CAST(NEW.proposed_by AS TEXT), 'ticket_id=' || CAST(NEW.ticket_id AS TEXT)) AND (k.engaged_at IS NOT NULL AND k.released_at IS NULL OR k.generation > NEW.generation));
  SELECT RAISE(ABORT, 'OC006: the record does not allow this') WHERE OLD.status = 'executing' AND NOT EXISTS (SELECT 1 FROM action_records AS r WHERE r.proposal_id = OLD.id AND ((NEW.status = 'completed' AND r.outcome IN ('succeeded')) OR (NEW.status = 'failed' AND r.outcome IN ('failed', 'unknown')) OR (NEW.status = 'cancelled' AND r.outcome IN ('stopped'))));
END
-- next
CREATE TRIGGER operator_core_proposals_delete BEFORE DELETE ON action_proposals
BEGIN
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE OLD.status NOT IN ('completed', 'failed', 'cancelled') OR EXISTS (SELECT 1 FROM action_records AS r WHERE r.proposal_id = OLD.id) OR NOT EXISTS (SELECT 1 FROM action_prunes AS p WHERE p."before" > OLD.status_at);
END
-- next
CREATE TRIGGER operator_core_proposals_inserted AFTER INSERT ON action_proposals
BEGIN
  INSERT INTO action_events (proposal_id, from_status, to_status, at, "by", reason, generation, data) VALUES (NEW.id, NULL, 'proposed', NEW.status_at, NEW.proposed_by, NEW.reason, NEW.generation, json_object('ticket_id', NEW.ticket_id, 'action_name', NEW.action_name, 'action_type', NEW.action_type, 'parameters', json(NEW.parameters), 'reason', NEW.reason, 'proposed_at', NEW.proposed_at, 'proposed_by', NEW.proposed_by, 'valid_until', NEW.valid_until, 'retry_of', NEW.retry_of, 'idempotency_key', NEW.idempotency_key));
  INSERT INTO action_events (proposal_id, from_status, to_status, at, "by", reason, generation, data) SELECT NEW.id, 'proposed', NEW.status, NEW.status_at, NEW.status_by, NEW.status_reason, NEW.generation, NULL WHERE NEW.status <> 'proposed';
END
-- next
CREATE TRIGGER operator_core_proposals_updated AFTER UPDATE ON action_proposals
BEGIN
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE OLD.status <> (SELECT e.to_status FROM action_events AS e WHERE e.proposal_id = OLD.id ORDER BY e.id + 0 DESC LIMIT 1);
  INSERT INTO action_events (proposal_id, from_status, to_status, at, "by", reason, generation, data) VALUES (NEW.id, OLD.status, NEW.status, NEW.status_at, NEW.status_by, NEW.status_reason, (SELECT max(k.generation) FROM kill_switch AS k), CASE WHEN OLD.status = 'executing' THEN (SELECT json_object('record_id', r.id, 'started_at', r.started_at, 'completed_at', r.completed_at, 'success', json(CASE r.success WHEN 1 THEN 'true' WHEN 0 THEN 'false' END), 'error_message', r.error_message, 'result_data', json(r.result_data), 'outcome', r.outcome, 'cancel_requested_at', r.cancel_requested_at, 'cancel_requested_by', r.cancel_requested_by, 'cancel_reason', r.cancel_reason, 'stop_generation', r.stop_generation, 'worker', r.worker, 'lease_seconds', r.lease_seconds, 'last_seen_at', r.last_seen_at, 'lease_expires_at', r.lease_expires_at, 'claim_key', r.claim_key) FROM action_records AS r WHERE r.proposal_id = NEW.id) END);
END
-- next
CREATE TRIGGER operator_core_events_insert BEFORE INSERT ON action_events
BEGIN
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE EXISTS (SELECT 1 FROM action_events AS e WHERE e.id = NEW.id OR (e.proposal_id = NEW.proposal_id AND e.to_status = NEW.to_status));
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE NOT EXISTS (SELECT 1 FROM action_proposals AS p WHERE p.id = NEW.proposal_id AND p.status_at = NEW.at AND (NEW.from_status IS NULL AND NEW.to_status = 'proposed' OR NEW.from_status IS NOT NULL AND p.status = NEW.to_status) AND coalesce((SELECT e.to_status FROM action_events AS e WHERE e.proposal_id = p.id ORDER BY e.id + 0 DESC LIMIT 1), '') = coalesce(NEW.from_status, ''));
END
-- next
CREATE TRIGGER operator_core_records_insert BEFORE INSERT ON action_records
BEGIN
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE EXISTS (SELECT 1 FROM action_records AS r WHERE r.id = NEW.id OR r.proposal_id = NEW.proposal_id OR (r.worker = NEW.worker AND r.claim_key = NEW.claim_key AND r.outcome IS NULL));
  SELECT RAISE(ABORT, 'OC006: the record does not allow this') WHERE NEW.completed_at IS NOT NULL OR NOT EXISTS (SELECT 1 FROM action_proposals AS p WHERE p.id = NEW.proposal_id AND p.status = 'executing');
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE (NEW.started_at IS NOT NULL AND (strftime('%Y-%m-%d %H:%M:%S', substr(NEW.started_at, 1, 19)) IS NOT substr(NEW.started_at, 1, 19) OR substr(NEW.started_at, 20) NOT GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]' OR NEW.started_at NOT BETWEEN '0001-01-02 00:00:00' AND '9999-12-31 00:00:00')) OR (NEW.completed_at IS NOT NULL AND (strftime('%Y-%m-%d %H:%M:%S', substr(NEW.completed_at, 1, 19)) IS NOT substr(NEW.completed_at, 1, 19) OR substr(NEW.completed_at, 20) NOT GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]' OR NEW.completed_at NOT BETWEEN '0001-01-02 00:00:00' AND '9999-12-31 00:00:00')) OR (NEW.cancel_requested_at IS NOT NULL AND (strftime('%Y-%m-%d %H:%M:%S', substr(NEW.cancel_requested_at, 1, 19)) IS NOT substr(NEW.cancel_requested_at, 1, 19) OR substr(NEW.cancel_requested_at, 20) NOT GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]' OR NEW.cancel_requested_at NOT BETWEEN '0001-01-02 00:00:00' AND '9999-12-31 00:00:00')) OR (NEW.last_seen_at IS NOT NULL AND (strftime('%Y-%m-%d %H:%M:%S', substr(NEW.last_seen_at, 1, 19)) IS NOT substr(NEW.last_seen_at, 1, 19) OR substr(NEW.last_seen_at, 20) NOT GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]' OR NEW.last_seen_at NOT BETWEEN '0001-01-02 00:00:00' AND '9999-12-31 00:00:00')) OR (NEW.lease_expires_at IS NOT NULL AND (strftime('%Y-%m-%d %H:%M:%S', substr(NEW.lease_expires_at, 1, 19)) IS NOT substr(NEW.lease_expires_at, 1, 19) OR substr(NEW.lease_expires_at, 20) NOT GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]' OR NEW.lease_expires_at NOT BETWEEN '0001-01-02 00:00:00' AND '9999-12-31 00:00:00')) OR (NEW.finding_at IS NOT NULL AND (strftime('%Y-%m-%d %H:%M:%S', substr(NEW.finding_at, 1, 19)) IS NOT substr(NEW.finding_at, 1, 19) OR substr(NEW.finding_at, 20) NOT GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]' OR NEW.finding_at NOT BETWEEN '0001-01-02 00:00:00' AND '9999-12-31 00:00:00'));
END
-- next
CREATE TRIGGER operator_core_records_update BEFORE UPDATE ON action_records
BEGIN
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE OLD.completed_at IS NOT NULL AND NOT (OLD.outcome = 'unknown' AND OLD.finding IS NULL AND NEW.finding IS NOT NULL AND NOT (NEW.id IS NOT OLD.id OR NEW.proposal_id IS NOT OLD.proposal_id OR NEW.started_at IS NOT OLD.started_at OR NEW.completed_at IS NOT OLD.completed_at OR NEW.success IS NOT OLD.success OR NEW.error_message IS NOT OLD.error_message OR NEW.result_data IS NOT OLD.result_data OR NEW.outcome IS NOT OLD.outcome OR NEW.cancel_requested_at IS NOT OLD.cancel_requested_at OR NEW.cancel_requested_by IS NOT OLD.cancel_requested_by OR NEW.cancel_reason IS NOT OLD.cancel_reason OR NEW.stop_generation IS NOT OLD.stop_generation OR NEW.worker IS NOT OLD.worker OR NEW.lease_seconds IS NOT OLD.lease_seconds OR NEW.last_seen_at IS NOT OLD.last_seen_at OR NEW.lease_expires_at IS NOT OLD.lease_expires_at OR NEW.claim_key IS NOT OLD.claim_key)) OR NEW.id IS NOT OLD.id OR NEW.proposal_id IS NOT OLD.proposal_id OR NEW.started_at IS NOT OLD.started_at OR NEW.worker IS NOT OLD.worker OR NEW.lease_seconds IS NOT OLD.lease_seconds OR NEW.claim_key IS NOT OLD.claim_key;
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE OLD.completed_at IS NULL AND NEW.finding IS NOT NULL;
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE OLD.cancel_requested_at IS NOT NULL AND (NEW.cancel_requested_at IS NOT OLD.cancel_requested_at OR NEW.cancel_requested_by IS NOT OLD.cancel_requested_by OR NEW.cancel_reason IS NOT OLD.cancel_reason);
  SELECT RAISE(ABORT, 'OC006: the record does not allow this') WHERE OLD.completed_at IS NULL AND NEW.completed_at IS NOT NULL AND NEW.stop_generation IS NOT (SELECT max(k.generation) FROM action_proposals AS p JOIN kill_switch AS k ON k.scope IN ('everything', 'action_type=' || CAST(p.action_type AS TEXT), 'action_name=' || CAST(p.action_name AS TEXT), 'proposed_by=' || CAST(p.proposed_by AS TEXT), 'ticket_id=' || CAST(p.ticket_id AS TEXT)) AND k.generation > p.generation WHERE p.id = NEW.proposal_id);
  SELECT RAISE(ABORT, 'OC006: the record does not allow this') WHERE NEW.outcome = 'stopped' AND NEW.cancel_requested_at IS NULL AND NEW.stop_generation IS NULL;
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE (NEW.started_at IS NOT NULL AND (strftime('%Y-%m-%d %H:%M:%S', substr(NEW.started_at, 1, 19)) IS NOT substr(NEW.started_at, 1, 19) OR substr(NEW.started_at, 20) NOT GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]' OR NEW.started_at NOT BETWEEN '0001-01-02 00:00:00' AND '9999-12-31 00:00:00')) OR (NEW.completed_at IS NOT NULL AND (strftime('%Y-%m-%d %H:%M:%S', substr(NEW.completed_at, 1, 19)) IS NOT substr(NEW.completed_at, 1, 19) OR substr(NEW.completed_at, 20) NOT GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]' OR NEW.completed_at NOT BETWEEN '0001-01-02 00:00:00' AND '9999-12-31 00:00:00')) OR (NEW.cancel_requested_at IS NOT NULL AND (strftime('%Y-%m-%d %H:%M:%S', substr(NEW.cancel_requested_at, 1, 19)) IS NOT substr(NEW.cancel_requested_at, 1, 19) OR substr(NEW.cancel_requested_at, 20) NOT GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]' OR NEW.cancel_requested_at NOT BETWEEN '0001-01-02 00:00:00' AND '9999-12-31 00:00:00')) OR (NEW.last_seen_at IS NOT NULL AND (strftime('%Y-%m-%d %H:%M:%S', substr(NEW.last_seen_at, 1, 19)) IS NOT substr(NEW.last_seen_at, 1, 19) OR substr(NEW.last_seen_at, 20) NOT GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]' OR NEW.last_seen_at NOT BETWEEN '0001-01-02 00:00:00' AND '9999-12-31 00:00:00')) OR (NEW.lease_expires_at IS NOT NULL AND (strftime('%Y-%m-%d %H:%M:%S', substr(NEW.lease_expires_at, 1, 19)) IS NOT substr(NEW.lease_expires_at, 1, 19) OR substr(NEW.lease_expires_at, 20) NOT GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]' OR NEW.lease_expires_at NOT BETWEEN '0001-01-02 00:00:00' AND '9999-12-31 00:00:00')) OR (NEW.finding_at IS NOT NULL AND (strftime('%Y-%m-%d %H:%M:%S', substr(NEW.finding_at, 1, 19)) IS NOT substr(NEW.finding_at, 1, 19) OR substr(NEW.finding_at, 20) NOT GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]' OR NEW.finding_at NOT BETWEEN '0001-01-02 00:00:00' AND '9999-12-31 00:00:00'));
END
-- next
CREATE TRIGGER operator_core_records_updated AFTER UPDATE ON action_records
BEGIN
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE OLD.completed_at IS NULL AND NOT EXISTS (SELECT 1 FROM action_proposals AS p WHERE p.id = NEW.proposal_id AND p.status = 'executing');
  INSERT INTO action_notes (proposal_id, record_id, kind, status, at, "by", reason, generation, data) SELECT NEW.proposal_id, NEW.id, 'cancel_requested', (SELECT p.status FROM action_proposals AS p WHERE p.id = NEW.proposal_id), NEW.cancel_requested_at, NEW.cancel_requested_by, NEW.cancel_reason, (SELECT max(k.generation) FROM kill_switch AS k), NULL WHERE OLD.cancel_requested_at IS NULL AND NEW.cancel_requested_at IS NOT NULL;
  INSERT INTO action_notes (proposal_id, record_id, kind, status, at, "by", reason, generation, data) SELECT NEW.proposal_id, NEW.id, 'resolved', (SELECT p.status FROM action_proposals AS p WHERE p.id = NEW.proposal_id), NEW.finding_at, NEW.finding_by, NEW.finding_reason, (SELECT max(k.generation) FROM kill_switch AS k), json_object('finding', NEW.finding) WHERE OLD.finding IS NULL AND NEW.finding IS NOT NULL;
END
-- next
CREATE TRIGGER operator_core_records_delete BEFORE DELETE ON action_records
BEGIN
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE NOT EXISTS (SELECT 1 FROM action_proposals AS p JOIN action_prunes AS q ON q."before" > p.status_at WHERE p.id = OLD.proposal_id AND p.status IN ('completed', 'failed', 'cancelled')) OR OLD.outcome = 'unknown' AND OLD.finding IS NULL;
END
-- next
CREATE TRIGGER operator_core_kill_switch_insert BEFORE INSERT ON kill_switch
BEGIN
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE EXISTS (SELECT 1 FROM kill_switch AS k WHERE k.scope = NEW.scope);
  SELECT RAISE(ABORT, 'OC007: a scope is everything, action_type=, action_name=, proposed_by= or ticket_id= with a value') WHERE NOT (NEW.scope = 'everything' OR NEW.scope IN ('action_type=subject', 'action_type=tool', 'action_type=workflow') OR substr(NEW.scope, 1, 12) IN ('action_name=', 'proposed_by=') AND length(NEW.scope) BETWEEN 13 AND 267 AND trim(substr(NEW.scope, 13)) <> '' OR substr(NEW.scope, 1, 10) = 'ticket_id=' AND NEW.scope = 'ticket_id=' || CAST(CAST(substr(NEW.scope, 11) AS INTEGER) AS TEXT));
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE (NOT (NEW.released_at IS NULL AND NEW.engaged_at IS NOT NULL AND NEW.generation = (SELECT max(k.generation) FROM kill_switch AS k) + 1)) OR (NEW.engaged_at IS NOT NULL AND (strftime('%Y-%m-%d %H:%M:%S', substr(NEW.engaged_at, 1, 19)) IS NOT substr(NEW.engaged_at, 1, 19) OR substr(NEW.engaged_at, 20) NOT GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]' OR NEW.engaged_at NOT BETWEEN '0001-01-02 00:00:00' AND '9999-12-31 00:00:00')) OR (NEW.released_at IS NOT NULL AND (strftime('%Y-%m-%d %H:%M:%S', substr(NEW.released_at, 1, 19)) IS NOT substr(NEW.released_at, 1, 19) OR substr(NEW.released_at, 20) NOT GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]' OR NEW.released_at NOT BETWEEN '0001-01-02 00:00:00' AND '9999-12-31 00:00:00'));
END
-- next
CREATE TRIGGER operator_core_kill_switch_update BEFORE UPDATE ON kill_switch
BEGIN
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE NEW.scope IS NOT OLD.scope OR NOT ((NEW.released_at IS NULL AND NEW.engaged_at IS NOT NULL AND NEW.generation = (SELECT max(k.generation) FROM kill_switch AS k) + 1) OR (OLD.engaged_at IS NOT NULL AND OLD.released_at IS NULL AND NEW.released_at IS NOT NULL AND NOT (NEW.generation IS NOT OLD.generation OR NEW.engaged_at IS NOT OLD.engaged_at OR NEW.engaged_by IS NOT OLD.engaged_by OR NEW.reason IS NOT OLD.reason))) OR (NEW.engaged_at IS NOT NULL AND (strftime('%Y-%m-%d %H:%M:%S', substr(NEW.engaged_at, 1, 19)) IS NOT substr(NEW.engaged_at, 1, 19) OR substr(NEW.engaged_at, 20) NOT GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]' OR NEW.engaged_at NOT BETWEEN '0001-01-02 00:00:00' AND '9999-12-31 00:00:00')) OR (NEW.released_at IS NOT NULL AND (strftime('%Y-%m-%d %H:%M:%S', substr(NEW.released_at, 1, 19)) IS NOT substr(NEW.released_at, 1, 19) OR substr(NEW.released_at, 20) NOT GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]' OR NEW.released_at NOT BETWEEN '0001-01-02 00:00:00' AND '9999-12-31 00:00:00'));
END
-- next
CREATE TRIGGER operator_core_kill_switch_inserted AFTER INSERT ON kill_switch
BEGIN
  INSERT INTO kill_switch_events (generation, scope, change, at, "by", reason) VALUES (NEW.generation, NEW.scope, 'engaged', NEW.engaged_at, NEW.engaged_by, NEW.reason);
END
-- next
CREATE TRIGGER operator_core_kill_switch_updated AFTER UPDATE ON kill_switch
BEGIN
  INSERT INTO kill_switch_events (generation, scope, change, at, "by", reason) SELECT NEW.generation, NEW.scope, 'engaged', NEW.engaged_at, NEW.engaged_by, NEW.reason WHERE NEW.released_at IS NULL;
  INSERT INTO kill_switch_events (generation, scope, change, at, "by", reason) SELECT NEW.generation, NEW.scope, 'released', NEW.released_at, NEW.released_by, NEW.release_reason WHERE NEW.released_at IS NOT NULL;
END
-- next
CREATE TRIGGER operator_core_kill_switch_events_insert BEFORE INSERT ON kill_switch_events
BEGIN
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE EXISTS (SELECT 1 FROM kill_switch_events AS e WHERE e.id = NEW.id OR (e.generation = NEW.generation AND e.change = NEW.change)) OR NOT EXISTS (SELECT 1 FROM kill_switch AS k WHERE k.scope = NEW.scope AND k.generation = NEW.generation AND k.engaged_at IS NOT NULL AND (k.released_at IS NULL) = (NEW.change = 'engaged') AND CASE WHEN k.released_at IS NULL THEN k.engaged_at ELSE k.released_at END = NEW.at);
END
-- next
CREATE TRIGGER operator_core_prunes_insert BEFORE INSERT ON action_prunes
BEGIN
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE EXISTS (SELECT 1 FROM action_prunes AS p WHERE p.id = NEW.id);
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE (NEW."before" IS NOT NULL AND (strftime('%Y-%m-%d %H:%M:%S', substr(NEW."before", 1, 19)) IS NOT substr(NEW."before", 1, 19) OR substr(NEW."before", 20) NOT GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]' OR NEW."before" NOT BETWEEN '0001-01-02 00:00:00' AND '9999-12-31 00:00:00')) OR (NEW.at IS NOT NULL AND (strftime('%Y-%m-%d %H:%M:%S', substr(NEW.at, 1, 19)) IS NOT substr(NEW.at, 1, 19) OR substr(NEW.at, 20) NOT GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]' OR NEW.at NOT BETWEEN '0001-01-02 00:00:00' AND '9999-12-31 00:00:00')) OR NEW."before" > strftime('%Y-%m-%d %H:%M:%f', 'now', '+1 day') || '000';
END
-- next
CREATE TRIGGER operator_core_notes_insert BEFORE INSERT ON action_notes
BEGIN
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE EXISTS (SELECT 1 FROM action_notes AS o WHERE o.id = NEW.id OR (o.record_id = NEW.record_id AND o.kind = NEW.kind AND o.kind <> 'reported_late'));
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE NOT EXISTS (SELECT 1 FROM action_records AS r JOIN action_proposals AS p ON p.id = r.proposal_id WHERE r.id = NEW.record_id AND p.id = NEW.proposal_id AND p.status = NEW.status AND (NEW.kind = 'reported_late' AND r.completed_at IS NOT NULL OR NEW.kind = 'cancel_requested' AND r.cancel_requested_at = NEW.at OR NEW.kind = 'resolved' AND r.finding_at = NEW.at));
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE (NEW.at IS NOT NULL AND (strftime('%Y-%m-%d %H:%M:%S', substr(NEW.at, 1, 19)) IS NOT substr(NEW.at, 1, 19) OR substr(NEW.at, 20) NOT GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]' OR NEW.at NOT BETWEEN '0001-01-02 00:00:00' AND '9999-12-31 00:00:00')) OR (NEW.data IS NOT NULL AND CASE WHEN json_valid(NEW.data) THEN json_type(NEW.data) <> 'object' ELSE 1 END);
END
-- next
CREATE TRIGGER operator_core_events_update BEFORE UPDATE ON action_events
BEGIN
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE 1;
END
-- next
CREATE TRIGGER operator_core_events_delete BEFORE DELETE ON action_events
BEGIN
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE EXISTS (SELECT 1 FROM action_proposals AS p WHERE p.id = OLD.proposal_id) OR NOT EXISTS (SELECT 1 FROM action_prunes AS q WHERE NOT q.keep_events AND q."before" > OLD.at AND q."before" > coalesce((SELECT max(e.at) FROM action_events AS e WHERE e.proposal_id = OLD.proposal_id), OLD.at));
END
-- next
CREATE TRIGGER operator_core_notes_update BEFORE UPDATE ON action_notes
BEGIN
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE 1;
END
-- next
CREATE TRIGGER operator_core_notes_delete BEFORE DELETE ON action_notes
BEGIN
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE EXISTS (SELECT 1 FROM action_proposals AS p WHERE p.id = OLD.proposal_id) OR NOT EXISTS (SELECT 1 FROM action_prunes AS q WHERE NOT q.keep_events AND q."before" > OLD.at AND q."before" > coalesce((SELECT max(e.at) FROM action_events AS e WHERE e.proposal_id = OLD.proposal_id), OLD.at));
END
-- next
CREATE TRIGGER operator_core_prunes_update BEFORE UPDATE ON action_prunes
BEGIN
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE 1;
END
-- next
CREATE TRIGGER operator_core_prunes_delete BEFORE DELETE ON action_prunes
BEGIN
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE 1;
END
-- next
CREATE TRIGGER operator_core_kill_switch_events_update BEFORE UPDATE ON kill_switch_events
BEGIN
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE 1;
END
-- next
CREATE TRIGGER operator_core_kill_switch_events_delete BEFORE DELETE ON kill_switch_events
BEGIN
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE 1;
END
-- next
CREATE TRIGGER operator_core_kill_switch_delete BEFORE DELETE ON kill_switch
BEGIN
  SELECT RAISE(ABORT, 'OC002: what was recorded never changes and never disappears') WHERE 1;
END
