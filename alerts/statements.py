"""The SQL statements of alerts: what each does, what bounds it, and what it means if it affects or returns no row."""

# --- conditions ---

# Finds the pipelines of whose executions at least %(percent)s percent failed, or %(still)s percent if an alert is
# firing. Reads the counts by minute from their index on the time. No row: too few failed, or too few ended.
FAILURE_RATES = """
SELECT p.id, p.pipeline_id, sum(c.failed)::bigint, sum(c.failed + c.succeeded)::bigint
FROM executions_finishedcount c JOIN releases_release r ON r.id = c.release_id
JOIN releases_pipeline p ON p.id = r.pipeline_id
WHERE c.minute >= now() - make_interval(mins => %(minutes)s) AND p.tenant_id = %(tenant)s
    AND (%(pipeline)s::bigint IS NULL OR p.id = %(pipeline)s)
GROUP BY p.id, p.pipeline_id
HAVING sum(c.failed + c.succeeded) >= %(minimum)s
    AND 100 * sum(c.failed) >= sum(c.failed + c.succeeded)
        * CASE WHEN p.id = ANY(%(firing)s::bigint[]) THEN %(still)s::numeric ELSE %(percent)s::numeric END
ORDER BY sum(c.failed) DESC, p.id LIMIT %(most)s
"""

# Finds the releases with due work that is late although a worker may run it, without paused work. Reads one execution
# of each release that has a worker, from the index on due executions. No row: no such work is late.
LATE = """
SELECT r.id, p.pipeline_id, r.release_version, due.next_due_at
FROM releases_pipeline p JOIN releases_release r ON r.pipeline_id = p.id
CROSS JOIN LATERAL (
    SELECT e.next_due_at FROM executions_execution e
    WHERE e.release_id = r.id AND e.status IN ('QUEUED', 'WAIT_RETRY') AND NOT e.held
    ORDER BY e.next_due_at LIMIT 1
) due
WHERE p.tenant_id = %(tenant)s AND (%(pipeline)s::bigint IS NULL OR p.id = %(pipeline)s)
    AND due.next_due_at <= now() - make_interval(mins => %(minutes)s)
    AND EXISTS (SELECT FROM executions_workereligibility v WHERE v.release_id = r.id AND v.present AND v.reason IS NULL)
    AND NOT EXISTS (SELECT FROM executions_heldrelease h WHERE h.release_id = r.id)
ORDER BY due.next_due_at, r.id LIMIT %(most)s
"""

# Finds the steps with open questions whose deadline is near. Reads all of the tenant's from the index on the deadline,
# because a limit would hide those of other steps; the time of the statement is limited. Timers are no questions, and
# the deadlines of paused executions move. No row: none is near.
NEAR_DEADLINES = """
SELECT p.id, p.pipeline_id, i.step_id, count(*), min(i.deadline)
FROM executions_interaction i
JOIN executions_execution e ON e.id = i.execution_id JOIN releases_release r ON r.id = e.release_id
JOIN releases_pipeline p ON p.id = r.pipeline_id
WHERE i.tenant_id = %(tenant)s AND i.status IN ('WAITING', 'DISPATCHING', 'DISPATCHED') AND i.transport <> 'timer'
    AND i.deadline <= now() + make_interval(mins => %(minutes)s)
    AND NOT e.held AND e.release_id NOT IN (SELECT release_id FROM executions_heldrelease)
    AND (%(pipeline)s::bigint IS NULL OR p.id = %(pipeline)s)
GROUP BY p.id, p.pipeline_id, i.step_id ORDER BY min(i.deadline), p.id, i.step_id LIMIT %(most)s
"""

# Finds the registered releases of the tenant with damaged or missing blobs. No row: all bytes are sound.
DAMAGED = """
SELECT r.id, p.pipeline_id, r.release_version, count(DISTINCT b.digest), min(b.digest)
FROM releases_blob b JOIN releases_artifact a ON a.blob_id = b.digest JOIN releases_release r ON r.id = a.release_id
JOIN releases_pipeline p ON p.id = r.pipeline_id
WHERE b.state IN ('DAMAGED', 'MISSING') AND r.status = 'REGISTERED' AND p.tenant_id = %(tenant)s
    AND (%(pipeline)s::bigint IS NULL OR p.id = %(pipeline)s)
GROUP BY r.id, p.pipeline_id, r.release_version ORDER BY r.id DESC LIMIT %(most)s
"""

# --- alerts and messages ---

# Locks a rule, so that its alerts are judged by one process at a time. No row is impossible: rules are never deleted.
LOCK_RULE = "SELECT r.id FROM alerts_alertrule r WHERE r.id = %(rule)s FOR UPDATE"

# Opens an alert for each finding that has none, with its first event. No row: every finding has a firing alert, or the
# rule was disabled or removed.
FIRE = """
WITH fired AS (
    INSERT INTO alerts_alert (tenant_id, rule_id, subject, title, detail, path)
    SELECT r.tenant_id, r.id, f.subject, f.title, f.detail, f.path
    FROM alerts_alertrule r
    CROSS JOIN json_to_recordset(%(found)s::json) AS f(subject text, title text, detail text, path text)
    WHERE r.id = %(rule)s AND r.enabled AND r.removed_at IS NULL
    ORDER BY f.subject
    ON CONFLICT (rule_id, subject) WHERE state = 'FIRING' DO NOTHING
    RETURNING id
)
INSERT INTO alerts_alertevent (alert_id, kind, actor, data)
SELECT id, 'FIRED', %(actor)s, '{}' FROM fired RETURNING alert_id
"""

# Notes which firing alerts were found again, and since when the others were not. While the list of findings is cut, any
# alert may be among those that are not listed. No row: nothing has changed.
NOTE = """
UPDATE alerts_alert SET clear_since = CASE WHEN %(cut)s OR subject = ANY(%(subjects)s) THEN NULL ELSE now() END
WHERE rule_id = %(rule)s AND state = 'FIRING' AND (%(cut)s OR subject = ANY(%(subjects)s)) = (clear_since IS NOT NULL)
"""

# Resolves the firing alerts that were not found for %(seconds)s seconds, or all of a rule that is disabled or removed,
# each with its event and, if its first message was written, another message. First messages that wait for another
# attempt are due at the end of an attempt's lease, because the second message waits for their end. No row: none is to
# be resolved.
RESOLVE = """
WITH resolved AS (
    UPDATE alerts_alert a SET state = 'RESOLVED'
    FROM alerts_alertrule r
    WHERE r.id = a.rule_id AND a.rule_id = %(rule)s AND a.state = 'FIRING'
        AND (a.clear_since <= now() - make_interval(secs => %(seconds)s) OR NOT r.enabled OR r.removed_at IS NOT NULL)
    RETURNING a.id, a.tenant_id, a.rule_id, a.notified_at IS NOT NULL
        AND coalesce(greatest(a.silenced_until, r.silenced_until) <= now(), true) AS announced
), hastened AS (
    UPDATE alerts_alertdelivery d SET next_at = least(d.next_at, now() + make_interval(secs => %(lease)s))
    FROM resolved a WHERE d.alert_id = a.id AND d.kind = 'FIRING' AND d.state = 'PENDING'
), messages AS (
    INSERT INTO alerts_alertdelivery (tenant_id, channel_id, alert_id, kind)
    SELECT a.tenant_id, c.id, a.id, 'RESOLVED' FROM resolved a
    JOIN alerts_rulechannel l ON l.rule_id = a.rule_id
    JOIN alerts_alertchannel c ON c.id = l.channel_id AND c.enabled AND c.removed_at IS NULL
    WHERE a.announced
)
INSERT INTO alerts_alertevent (alert_id, kind, actor, data)
SELECT id, 'RESOLVED', %(actor)s, '{}' FROM resolved RETURNING alert_id
"""

# Writes the first messages of the firing alerts that have none and are not silenced. No row: there are none.
NOTIFY = """
WITH notified AS (
    UPDATE alerts_alert a SET notified_at = now()
    FROM alerts_alertrule r
    WHERE r.id = a.rule_id AND a.rule_id = %(rule)s AND a.state = 'FIRING' AND a.notified_at IS NULL
        AND coalesce(greatest(a.silenced_until, r.silenced_until) <= now(), true)
    RETURNING a.id, a.tenant_id, a.rule_id
)
INSERT INTO alerts_alertdelivery (tenant_id, channel_id, alert_id, kind)
SELECT a.tenant_id, c.id, a.id, 'FIRING' FROM notified a
JOIN alerts_rulechannel l ON l.rule_id = a.rule_id
JOIN alerts_alertchannel c ON c.id = l.channel_id AND c.enabled AND c.removed_at IS NULL
"""

# Silences a firing alert, or ends its silence, with its event. No row: the alert is resolved.
SILENCE = """
WITH silenced AS (
    UPDATE alerts_alert SET silenced_until = %(until)s, silenced_by = %(by)s
    WHERE id = %(alert)s AND state = 'FIRING' RETURNING id
)
INSERT INTO alerts_alertevent (alert_id, kind, actor, data)
SELECT id, %(kind)s, %(actor)s, %(data)s::jsonb FROM silenced RETURNING alert_id
"""

# Claims the delivery that has been due for longest, for one attempt. The message that an alert is resolved waits until
# the one that it fires is over, so that they never arrive in the wrong order. No row: none is due.
CLAIM = """
UPDATE alerts_alertdelivery d SET attempts = d.attempts + 1, next_at = now() + make_interval(secs => %(lease)s)
WHERE d.id = (
    SELECT c.id FROM alerts_alertdelivery c
    WHERE c.state = 'PENDING' AND c.next_at <= now() AND NOT c.tenant_id = ANY(%(full)s::bigint[])
        AND NOT (c.kind = 'RESOLVED' AND EXISTS (SELECT FROM alerts_alertdelivery f
            WHERE f.alert_id = c.alert_id AND f.channel_id = c.channel_id
                AND f.kind = 'FIRING' AND f.state = 'PENDING'))
    ORDER BY c.next_at, c.id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING d.id, d.tenant_id
"""

# Records the result of an attempt. No row: the delivery is over, or a newer attempt has started.
RECORD = """
UPDATE alerts_alertdelivery d SET state = %(state)s, error = %(error)s, next_at = now() + CASE
    WHEN d.kind = 'FIRING' AND EXISTS (SELECT FROM alerts_alert a WHERE a.id = d.alert_id AND a.state = 'RESOLVED')
    THEN '0' ELSE coalesce(%(wait)s::interval, '0') END
WHERE id = %(id)s AND state = 'PENDING' AND attempts = %(attempt)s
"""

# Writes a test message to a channel that is enabled. No row: the channel is disabled or removed.
TEST = """
INSERT INTO alerts_alertdelivery (tenant_id, channel_id, kind)
SELECT c.tenant_id, c.id, 'TEST' FROM alerts_alertchannel c
WHERE c.id = %(channel)s AND c.enabled AND c.removed_at IS NULL RETURNING id
"""

# Removes a batch of resolved alerts, with their events and messages: three statements of one transaction, because the
# rows that belong to an alert may be removed only after it. No row: none is old enough.
REMOVE_ALERTS = """
DELETE FROM alerts_alert WHERE id IN (
    SELECT id FROM alerts_alert WHERE state = 'RESOLVED' AND resolved_at < now() - make_interval(days => %(days)s)
    ORDER BY resolved_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
RETURNING id
"""
REMOVE_DELIVERIES_OF_ALERTS = "DELETE FROM alerts_alertdelivery WHERE alert_id = ANY(%s)"
REMOVE_EVENTS = "DELETE FROM alerts_alertevent WHERE alert_id = ANY(%s)"

# Removes a batch of old finished deliveries. No row: none is old enough.
REMOVE_DELIVERIES = """
DELETE FROM alerts_alertdelivery WHERE id IN (
    SELECT id FROM alerts_alertdelivery
    WHERE state <> 'PENDING' AND finished_at < now() - make_interval(days => %(days)s)
    ORDER BY finished_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
RETURNING id
"""
