"""Checks whether REST workers host what their releases pin (wire protocol D.8, ADR 37).

Control workers make the calls, at regular intervals and after each registration. They store the newest verdict on the
worker's row. Admission reads the view `WorkerEligibility`, and never calls a worker.
"""

import time
from threading import BoundedSemaphore

from django.db.models import Expression, F, Value
from django.db.models.functions import Least, Now

from coordinator_client.errors import Broken, NotConnected, TimedOut
from executions.models import Worker, WorkerEligibility
from executions.transports.rest.calls import call, read
from executions.workers.eligibility import CHECK_FAILED
from foundation.exchange import TargetRefused, Unreachable
from foundation.places import Places, Turns
from releases.models import Release
from wire.documents.json_reader import shown
from wire.messages.rest_messages import CAPABILITIES_PATH, PROTOCOL_VERSION, Capabilities, Malformed

CHECK_SECONDS = 10
"""A worker is due for a check this many seconds after its last one."""
LONGEST_INTERVAL_SECONDS = 300
"""The interval doubles up to this with each further check that a worker does not answer. A registration resets it."""
CALL_SECONDS = 5.0
"""The timeout of a check."""
MOST_BYTES = 256 * 1024
"""A report has some hundred bytes. Reading one of many megabytes at each check would delay the checks of others."""
MOST_COUNTED = 10
LOST_SECONDS = 60
"""A check that takes longer is repeated: its process has died."""
_VERDICT_POLL_SECONDS = 0.05

# Finds the due worker of each tenant with the oldest check. Of these, claims the one whose tenant was served least
# recently. A claim ends with the check, with another registration, or after `lost` seconds. No row: no worker is due.
_CLAIM_CHECK = """
WITH due AS (
    SELECT DISTINCT ON (w.tenant_id) w.id, w.tenant_id, w.capability_checked_at AS since, w.capability_claimed_at
    FROM executions_worker w JOIN executions_workereligibility v ON v.worker_id = w.id
    WHERE w.protocol = 'rest' AND v.present AND v.admits AND w.tenant_id <> ALL(%(full)s)
        AND (w.unanswered_checks > 0) = %(unanswered)s
        AND coalesce(w.capability_checked_at < statement_timestamp()
            - make_interval(secs => least(%(interval)s * 2 ^ greatest(w.unanswered_checks - 1, 0), %(longest)s)), true)
        AND coalesce(w.capability_claimed_at <= greatest(w.capability_checked_at, w.registered_at,
            statement_timestamp() - make_interval(secs => %(lost)s)), true)
    ORDER BY w.tenant_id, w.capability_checked_at NULLS FIRST, w.id
), served AS (
    SELECT w.tenant_id, max(w.capability_claimed_at) AS at FROM executions_worker w
    WHERE w.tenant_id IN (SELECT tenant_id FROM due) GROUP BY 1
), next AS (
    SELECT due.* FROM due LEFT JOIN served USING (tenant_id)
    ORDER BY served.at NULLS FIRST, due.since NULLS FIRST, due.id LIMIT 1
), claimed AS (
    UPDATE executions_worker w SET capability_claimed_at = statement_timestamp()
    FROM next WHERE w.id = next.id AND w.capability_claimed_at IS NOT DISTINCT FROM next.capability_claimed_at
    RETURNING w.id
)
SELECT next.id, next.tenant_id, claimed.id IS NOT NULL FROM next LEFT JOIN claimed USING (id)
"""


def turns(places: Places, *, unanswered: bool = False) -> Turns:
    """Turns for checks of REST workers: of each healthy one every CHECK_SECONDS, and directly after registration.

    With `unanswered`, of those that did not answer the last check; otherwise of all others.
    """
    seconds = {"interval": CHECK_SECONDS, "longest": LONGEST_INTERVAL_SECONDS, "lost": LOST_SECONDS}
    return Turns(_CLAIM_CHECK, {**seconds, "unanswered": unanswered}, places)


def check(worker_pk: int) -> None:
    """Check what a worker hosts, and store the verdict on its row. Makes an HTTP call: do not use in a transaction."""
    host = WorkerEligibility.objects.select_related("worker", "release__pipeline__tenant").get(pk=worker_pk)
    if host.release is None:
        return
    unanswered: Expression
    try:
        error, unanswered = _why_not(host.release, host.worker) or "", Value(0)
    except (Unreachable, NotConnected, TimedOut) as failure:
        error, unanswered = f"{CHECK_FAILED}: {failure}", Least(F("unanswered_checks") + 1, MOST_COUNTED)
    # If the worker was registered again in the meantime, the answer does not apply.
    same = Worker.objects.filter(pk=worker_pk, registered_at=host.worker.registered_at)
    same.update(capability_checked_at=Now(), capability_error=error, unanswered_checks=unanswered)


_waiting = BoundedSemaphore(2)


def await_verdict(worker: Worker, *, seconds: float) -> None:
    """Wait until a newly registered worker has its first verdict, for at most `seconds`.

    At most two threads of a process wait. For further threads, and for workers that are not checked, it returns
    immediately.
    """
    unchecked = Worker.objects.filter(
        pk=worker.pk, capability_checked_at=None, protocol="rest", eligibility__admits=True
    )
    if not _waiting.acquire(blocking=False):
        return
    try:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and unchecked.exists():
            time.sleep(_VERDICT_POLL_SECONDS)
    finally:
        _waiting.release()


def artifact_conflict(release: Release, artifact_id: str, artifact_digest: str) -> str | None:
    """Return why a worker whose answer names this artifact cannot host `release`; None if it can.

    The view `WorkerEligibility` applies the same rule to registered artifacts. A test compares the two.
    """
    artifacts = list(release.artifacts.all())
    named = [each for each in artifacts if artifact_digest in ("", each.digest)]
    if not named:
        pinned = ", ".join(sorted({each.digest for each in artifacts}))
        return f"Worker artifact digest {shown(artifact_digest)} does not match active release artifact digest {pinned}"
    ids = {each.artifact_id for each in named}
    if artifact_id and artifact_id not in ids:
        pinned = ", ".join(sorted(ids))
        return f"Worker artifact id {shown(artifact_id)} does not match active release artifact id {pinned}"
    return None


def _why_not(release: Release, worker: Worker) -> str | None:
    """Return why the worker cannot host the release; None if it can. Raises what `call` does if it does not answer."""
    try:
        slug = release.pipeline.tenant.slug
        answer = call(worker.endpoint, slug, "GET", CAPABILITIES_PATH, most_seconds=CALL_SECONDS, most_bytes=MOST_BYTES)
        if not 200 <= answer.status < 300:
            raise Malformed(f"HTTP {answer.status}")
        if not answer.complete:
            raise Malformed(f"the response has more than {MOST_BYTES} bytes")
        reported = read(Capabilities, answer.body)
    except (TargetRefused, Broken, Malformed) as error:
        return f"{CHECK_FAILED}: {error}"
    if reported.protocol_version != PROTOCOL_VERSION:
        return "Worker capability protocol version is unsupported"
    hosts = (reported.pipeline_id, reported.contract_version, reported.release_version)
    active = (release.pipeline.pipeline_id, release.contract_version, release.release_version)
    if hosts != active:
        return f"Worker hosts {_identity(*hosts)} but active release is {_identity(*active)}"
    return artifact_conflict(release, (reported.artifact_id or "").strip(), (reported.artifact_digest or "").strip())


def _identity(pipeline_id: str, contract_version: str, release_version: str) -> str:
    return (
        f"pipelineId={shown(pipeline_id)}, contractVersion={shown(contract_version)}, "
        f"releaseVersion={shown(release_version)}"
    )
