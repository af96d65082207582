"""The SQL statements of the release side that the ORM cannot express, and what it means if they return no row."""

CLAIM_NEXT_RELEASE = """
WITH due AS (
    SELECT DISTINCT ON (p.tenant_id) r.id, p.tenant_id, r.status_changed_at AS since
    FROM releases_release r JOIN releases_pipeline p ON p.id = r.pipeline_id
    WHERE p.tenant_id <> ALL(%(full)s) AND r.status IN ('UPLOADED', 'VERIFYING')
        AND (r.status = 'UPLOADED' OR r.status_changed_at < statement_timestamp() - make_interval(secs => %(stalled)s))
    ORDER BY p.tenant_id, r.status_changed_at, r.id
), served AS (
    SELECT p.tenant_id, max(r.status_changed_at) AS at
    FROM releases_release r JOIN releases_pipeline p ON p.id = r.pipeline_id
    WHERE r.status <> 'UPLOADED' AND p.tenant_id IN (SELECT tenant_id FROM due) GROUP BY 1
), next AS (
    SELECT due.* FROM due LEFT JOIN served USING (tenant_id) ORDER BY served.at NULLS FIRST, due.since, due.id LIMIT 1
), claimed AS (
    UPDATE releases_release r SET status = 'VERIFYING', status_changed_at = statement_timestamp()
    FROM next WHERE r.id = next.id AND r.status IN ('UPLOADED', 'VERIFYING') AND r.status_changed_at = next.since
    RETURNING r.id
)
SELECT next.id, next.tenant_id, claimed.id IS NOT NULL FROM next LEFT JOIN claimed USING (id)
"""
"""Claims the oldest due release of the tenant whose last turn is longest ago, except tenants in `full`.

A release is due if it is UPLOADED, or if its verification has not renewed its claim for `stalled` seconds. Returns the
ids of the release and the tenant, and False if another process claimed the release first. No row: no release is due.
"""

CLAIM_NEXT_UPLOAD = """
WITH due AS (
    SELECT DISTINCT ON (u.tenant_id) u.id, u.tenant_id, u.status_changed_at AS since, u.claimed_at
    FROM releases_artifactupload u
    WHERE u.tenant_id <> ALL(%(full)s) AND u.status = 'VERIFYING'
        AND (u.claimed_at IS NULL OR u.claimed_at < statement_timestamp() - make_interval(secs => %(stalled)s))
    ORDER BY u.tenant_id, u.status_changed_at, u.id
), served AS (
    SELECT u.tenant_id, max(u.claimed_at) AS at FROM releases_artifactupload u
    WHERE u.tenant_id IN (SELECT tenant_id FROM due) GROUP BY 1
), next AS (
    SELECT due.* FROM due LEFT JOIN served USING (tenant_id) ORDER BY served.at NULLS FIRST, due.since, due.id LIMIT 1
), claimed AS (
    UPDATE releases_artifactupload u SET claimed_at = statement_timestamp()
    FROM next WHERE u.id = next.id AND u.status = 'VERIFYING' AND u.claimed_at IS NOT DISTINCT FROM next.claimed_at
    RETURNING u.id
)
SELECT next.id, next.tenant_id, claimed.id IS NOT NULL FROM next LEFT JOIN claimed USING (id)
"""
"""Claims the oldest due direct upload, as CLAIM_NEXT_RELEASE does for releases.

A direct upload is due if it is VERIFYING and has no claim, or a claim that was not renewed for `stalled` seconds. No
row: no direct upload is due.
"""

CLAIM_BLOB = """
UPDATE releases_blob SET checking_until = clock_timestamp() + make_interval(secs => %(claim)s)
WHERE digest = (
    SELECT digest FROM releases_blob
    WHERE state <> 'REMOVED' AND digest <> ALL(%(skip)s::text[])
        AND checked_at < CASE state WHEN 'SOUND' THEN %(sound)s WHEN 'MISSING' THEN %(missing)s ELSE %(damaged)s END
        AND (checking_until IS NULL OR checking_until < clock_timestamp())
    ORDER BY checked_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING digest, state
"""
"""Claims for `claim` seconds the blob whose last check is longest ago, and returns its digest and state.

Blobs that were checked after the time for their state are not due, nor those in `skip`. No row: no blob is due, or
other processes have claimed all that are.
"""

OPENING = """
SELECT coalesce(until > clock_timestamp(), false), CASE WHEN isfinite(until) THEN until END
FROM release_open_until(%(release)s) AS until
"""
"""Returns whether submissions that name a release get it now, and the end of its grace if it was replaced."""

CLOCK = "SELECT clock_timestamp()"
"""Returns the database's time in one row."""

LOCK_RESOURCES = "SELECT pg_advisory_xact_lock(key) FROM unnest(%(keys)s::bigint[]) AS key ORDER BY key"
"""Makes other transactions that take leases on the same resources wait until the end of this one."""

REMOVE_EXPIRED_LEASES = """
DELETE FROM releases_bloblease WHERE id IN (
    SELECT id FROM releases_bloblease WHERE resource = ANY(%(resources)s::text[]) AND expires_at < clock_timestamp()
    FOR UPDATE SKIP LOCKED)
"""
"""Removes leases that their holders have not renewed.

A locked row stays, because the transaction of its holder is about to commit. Its lease still counts.
"""

TAKE_LEASE = """
INSERT INTO releases_bloblease (resource, holder, exclusive, expires_at)
SELECT resource, %(holder)s, %(exclusive)s, clock_timestamp() + make_interval(secs => %(seconds)s)
FROM unnest(%(resources)s::text[]) AS resource
WHERE NOT EXISTS (
    SELECT FROM releases_bloblease held
    WHERE held.resource = ANY(%(resources)s::text[]) AND (held.exclusive OR %(exclusive)s))
"""
"""Takes a lease on each resource, or none if another holder's is in the way. Every lease is in the way of an exclusive
one, and only exclusive ones are in the way of a shared one."""

RENEW_LEASE = """
UPDATE releases_bloblease SET expires_at = clock_timestamp() + make_interval(secs => %(seconds)s)
WHERE holder = %(holder)s
"""
"""Begins the time of a holder's leases again. Fewer rows than the holder has resources: the lease is lost."""

END_LEASE = "DELETE FROM releases_bloblease WHERE holder = %(holder)s"
"""Ends the leases of a holder. Fewer rows than the holder has resources: the lease was lost."""
