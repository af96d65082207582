"""The SQL statements of campaigns: what each does, and what it means if it affects or returns no row."""

# Waits for the removals of old executions of a tenant that are in progress. Others skip the tenant until the
# transaction ends.
LOCK_REMOVALS = "SELECT pg_advisory_xact_lock(7310, hashint8(%s))"

# Freezes what the query `chosen` returns as batches of a campaign that was just added, earliest failure first. It reads
# each execution once and locks none: a campaign skips those that have changed since. Returns the number of selected
# executions, and of those of each release. No row is impossible.
FREEZE = """
WITH placed AS MATERIALIZED (
    SELECT id, version, release_id, row_number() OVER (ORDER BY finished_at, id) - 1 AS place FROM ({chosen}) chosen
), batches AS (
    INSERT INTO executions_campaignbatch (campaign_id, position, executions, versions)
    SELECT %s::uuid, place / %s, array_agg(id ORDER BY place), array_agg(version ORDER BY place)
    FROM placed WHERE place < %s GROUP BY 2
    RETURNING cardinality(executions) AS size
), releases AS (
    SELECT release_id, count(*) FROM placed WHERE place < %s GROUP BY 1
)
UPDATE executions_campaign
SET selected = (SELECT coalesce(sum(size), 0) FROM batches), cut = EXISTS (SELECT FROM placed WHERE place >= %s)
WHERE id = %s RETURNING selected, (SELECT json_object_agg(release_id, count) FROM releases)
"""

# Locks a campaign that is DRAFTING. No row: it has all of its items, it was discarded, or another process drafts it.
LOCK_DRAFTING = """
SELECT FROM executions_campaign WHERE id = %s AND status = 'DRAFTING' FOR NO KEY UPDATE SKIP LOCKED
"""

# Replaces the first batch of a locked campaign by its items. One statement does both, so that no process that dies and
# no message that comes twice loses an item or adds it again. Returns the number of items, and whether a batch is left.
ADD_ITEMS = """
WITH taken AS (
    DELETE FROM executions_campaignbatch WHERE id = (
        SELECT b.id FROM executions_campaignbatch b WHERE b.campaign_id = %(campaign)s ORDER BY b.position LIMIT 1)
    RETURNING campaign_id, position, executions, versions
), added AS (
    INSERT INTO executions_campaignitem (campaign_id, execution_id, expected_version)
    SELECT t.campaign_id, s.id, s.version FROM taken t,
        unnest(t.executions, t.versions) WITH ORDINALITY AS s(id, version, place) ORDER BY s.place
    RETURNING id
)
SELECT (SELECT count(*) FROM added), EXISTS (
    SELECT FROM executions_campaignbatch b, taken t WHERE b.campaign_id = t.campaign_id AND b.position > t.position)
"""

# Makes a campaign that has all of its items a draft. The database counts them. No row is impossible.
COMPLETE_DRAFT = "UPDATE executions_campaign SET status = 'DRAFT' WHERE id = %s AND status = 'DRAFTING'"

# Locks the campaign and computes its credit: the items that the rate allows since `rate_since`, minus those admitted.
# The credit is at most that of one window. So after an outage of the clock, a campaign continues at its rate and does
# not catch up in one burst. No row: the campaign is not running, or another process is advancing it.
CREDIT = """
WITH locked AS (
    SELECT id, rate_per_minute, rate_since, admitted FROM executions_campaign
    WHERE id = %(id)s AND status = 'RUNNING' FOR UPDATE SKIP LOCKED
), counted AS (
    SELECT id, floor(rate_per_minute * extract(epoch FROM now() - rate_since) / 60)::bigint - admitted AS credit,
        ceil(rate_per_minute * %(window)s / 60.0)::bigint AS most
    FROM locked
), capped AS (
    UPDATE executions_campaign c SET rate_since = now() - make_interval(secs => %(window)s), admitted = 0
    FROM counted WHERE c.id = counted.id AND counted.credit > counted.most
)
SELECT least(credit, most) FROM counted
"""

# Records the results of items that were resubmitted, each with the new execution that the campaign's link names. No
# row: none of the items was resubmitted.
RECORD_RESUBMITTED = """
UPDATE executions_campaignitem i SET outcome = 'RESUBMITTED', new_execution_id = r.new_execution_id, at = now()
FROM executions_resubmission r
WHERE i.id = ANY(%(items)s) AND r.execution_id = i.execution_id AND r.campaign_id = %(campaign)s
    AND i.campaign_id = r.campaign_id
"""

# Changes the status of a campaign, with its event. No row: its status is none of `sources`, or it does not exist.
CHANGE = """
WITH changed AS (
    UPDATE executions_campaign SET status = %(status)s{changes}
    WHERE id = %(campaign)s AND tenant_id = %(tenant)s AND status = ANY(%(sources)s) RETURNING id
)
INSERT INTO executions_campaignevent (campaign_id, kind, actor, data)
SELECT id, %(event)s, %(actor)s, %(data)s::jsonb FROM changed
"""

# Locks a campaign that has paused itself, and accepts the failures of its executions. An execution counts again when it
# fails again. No row: the campaign is not paused, a person paused it, or no execution has failed.
ACCEPT_FAILURES = """
WITH paused AS (
    SELECT id FROM executions_campaign
    WHERE id = %(campaign)s AND tenant_id = %(tenant)s AND status = 'PAUSED' AND cause <> '' FOR UPDATE
)
UPDATE executions_campaignitem i SET accepted_version = e.version
FROM paused, executions_execution e
WHERE i.campaign_id = paused.id AND i.outcome IN ('REDRIVEN', 'RESUBMITTED')
    AND e.id = coalesce(i.new_execution_id, i.execution_id) AND e.status IN ('FAILED', 'DLQ')
    AND i.accepted_version IS DISTINCT FROM e.version
"""

# What changes with the status. The previous version of the product reads `failures_accepted`.
START = """,
    rate_since = now(), created_by = %(actor)s, reason = %(reason)s, rate_per_minute = %(rate_per_minute)s,
    canary = %(canary)s, stop_after_failures = %(stop_after_failures)s,
    target_release_version = %(target_release_version)s, start_from = %(start_from)s, revoked_releases = %(revoked)s
"""
START_AS_ORDERED = ", rate_since = now()"
PAUSE = ", cause = %(cause)s"
RESUME = """,
    rate_since = now(), admitted = 0, cause = '', canary_over = canary_over OR cause = 'canary',
    failures_accepted = failures_accepted + %(accepted)s
"""
FINISH = ", finished_at = now(), cause = ''"
END_CANARY = ", rate_since = now(), admitted = 0, canary_over = true"

# Counts the outcomes of the executions that campaigns ran again: the new one of an item that was resubmitted, otherwise
# its own. The last count is that of failures that no resume has accepted. No row for a campaign: it has not run any.
RESULTS = """
SELECT i.campaign_id, count(*) FILTER (WHERE e.status IN ('QUEUED', 'RUNNING', 'WAIT_RETRY')),
    count(*) FILTER (WHERE e.status = 'WAITING_EXTERNAL'), count(*) FILTER (WHERE e.status = 'SUCCEEDED'),
    count(*) FILTER (WHERE e.status IN ('FAILED', 'DLQ')), count(*) FILTER (WHERE e.status = 'CANCELLED'),
    count(*) FILTER (WHERE e.id IS NULL),
    count(*) FILTER (WHERE e.status IN ('FAILED', 'DLQ') AND e.version IS DISTINCT FROM i.accepted_version)
FROM executions_campaignitem i
LEFT JOIN executions_execution e ON e.id = coalesce(i.new_execution_id, i.execution_id)
WHERE i.campaign_id = ANY(%s) AND i.outcome IN ('REDRIVEN', 'RESUBMITTED') GROUP BY i.campaign_id
"""

# Counts the items of a draft by the status, the release and the error of their executions, those whose execution has
# changed since they were selected, and those whose work another execution carries on. Most have no links. The largest
# groups come first. No row is impossible: a draft has items.
CONTENTS = """
SELECT coalesce(e.status, 'REMOVED'), e.release_id, e.pipeline_id, e.release_version, e.error_code, count(*),
    count(*) FILTER (WHERE e.version IS DISTINCT FROM i.expected_version),
    count(*) FILTER (WHERE CASE WHEN e.status IN ('FAILED', 'DLQ') AND (e.parent_id IS NOT NULL
        OR EXISTS (SELECT FROM executions_resubmission s WHERE s.execution_id = e.id)
        OR EXISTS (SELECT FROM executions_resubmission s WHERE s.new_execution_id = e.id))
        THEN replacement_of(e.id) END IS NOT NULL)
FROM executions_campaignitem i LEFT JOIN executions_execution e ON e.id = i.execution_id
WHERE i.campaign_id = %s GROUP BY 1, 2, 3, 4, 5 ORDER BY 6 DESC, 1, 2, 5
"""

# Locks a draft of the tenant, and waits for a batch that is being drafted. No row: there is no such draft, or it was
# started.
LOCK_DRAFT = """
SELECT c.id FROM executions_campaign c
WHERE c.id = %(campaign)s AND c.tenant_id = %(tenant)s AND c.status IN ('DRAFTING', 'DRAFT') FOR UPDATE
"""

# Locks the oldest draft, if its age exceeds the limit. No row: no draft is so old, or another process removes it.
LOCK_OLD_DRAFT = """
SELECT c.id FROM executions_campaign c WHERE c.status = 'DRAFT' AND c.created_at < now() - make_interval(hours => %s)
ORDER BY c.created_at LIMIT 1 FOR UPDATE SKIP LOCKED
"""

# Remove a locked draft with its items.
REMOVE_BATCHES = "DELETE FROM executions_campaignbatch WHERE campaign_id = %s"
REMOVE_ITEMS = "DELETE FROM executions_campaignitem WHERE campaign_id = %s"
REMOVE_DRAFT = "DELETE FROM executions_campaign WHERE id = %s"
