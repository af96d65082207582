"""The SQL statements of campaigns: what each does, and what it means if it affects or returns no row."""

# Adds an item for each execution that the query `chosen` returns, earliest failure first. The query locks them. No row:
# no execution matches the filters of the campaign.
ADD_ITEMS = """
WITH chosen AS MATERIALIZED ({chosen})
INSERT INTO executions_campaignitem (campaign_id, execution_id, expected_version)
SELECT %s, id, version FROM chosen ORDER BY finished_at, id
"""

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
