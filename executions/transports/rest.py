"""Calls to REST workers: signed, and only to the origins that the installation names.

Control workers check whether REST workers host what their releases pin: at regular intervals
and after each registration. They store the newest verdict on the worker's row. Admission reads the view
`WorkerEligibility`, and never calls a worker. So a worker that does not answer holds no thread of a web process.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from ipaddress import ip_network
from threading import BoundedSemaphore
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from celery import current_app
from django.conf import settings
from django.db.models import Expression, F, Value
from django.db.models.functions import Least, Now
from django.utils import timezone

from coordinator_client.errors import Broken, NotConnected, TimedOut
from executions import metrics
from executions.models import Worker, WorkerEligibility
from executions.state_machine.moves import Claim
from executions.workers.eligibility import CHECK_FAILED, NOT_ALLOWED
from executions.workers.tenant_keys import active_keys
from foundation.broker_gate import gate
from foundation.exchange import MOST_ADDRESSES, Response, TargetRefused, Unreachable, exchange, vet
from foundation.places import Places, Turns
from releases.models import Release
from wire.addresses import DEFAULT_PORTS
from wire.documents.json_reader import shown
from wire.messages.rest_messages import (
    CAPABILITIES_PATH,
    PROTOCOL_VERSION,
    Capabilities,
    Malformed,
    Message,
    TransitionResult,
    parse,
)
from wire.messages.unknown_members import NewNames, unknown_members
from wire.traceparent import NONE
from wire.worker_keys import signed_headers

UNAUTHORIZED = 401
CONNECT_SECONDS: Final = 2.0
MAX_ANSWER_BYTES: Final = 16 * 1024**2
# The installation allows the origins on its list, so their addresses may be private. Each call still connects to the
# addresses that were checked.
ANYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))


def lease_seconds() -> float:
    """Return for how long a lease outlives one call: connecting to each address, the exchange, and recording.

    An outage of the database that lasts longer than MESSAGE_PATH_SECONDS extends the lease.
    """
    seconds: float = CONNECT_SECONDS * MOST_ADDRESSES
    return seconds + float(settings.REST_WORKER_TIMEOUT_SECONDS) + 10 + settings.MESSAGE_PATH_SECONDS


def base_of(endpoint: str) -> str:
    """Return the URL at which a worker with this endpoint is called; without one, the installation's base URL."""
    return (endpoint or settings.REST_WORKER_BASE_URL).rstrip("/")


def endpoint_errors(endpoint: str) -> list[dict[str, str]]:
    """Return an error for each rule that the form of a worker's endpoint breaks. It must be an origin without a path.

    Otherwise a client that registers a worker could choose the paths that the coordinator calls.
    """
    try:
        address = urlsplit(endpoint)
        is_url = address.scheme in DEFAULT_PORTS and bool(address.hostname) and address.port != 0
    except ValueError:
        is_url = False
    if not is_url or not endpoint.isascii() or any(character in "\\ " or ord(character) < 33 for character in endpoint):
        return [_endpoint_error("ENDPOINT_NOT_A_URL", "must be a URL such as https://worker.example:8443")]
    rules = (
        ("ENDPOINT_HAS_USER_INFO", "@" in address.netloc, "must not contain user info"),
        ("ENDPOINT_HAS_ZONE", "%" in address.netloc, "must not contain a zone id or an escaped host"),
        ("ENDPOINT_HAS_PATH", address.path.strip("/") != "", "must not contain a path: the protocol names every path"),
        ("ENDPOINT_HAS_QUERY", "?" in endpoint, "must not contain a query"),
        ("ENDPOINT_HAS_FRAGMENT", "#" in endpoint, "must not contain a fragment"),
    )
    return [_endpoint_error(code, message) for code, broken, message in rules if broken]


def _endpoint_error(code: str, message: str) -> dict[str, str]:
    return {"field": "endpoint", "code": code, "message": message}


def may_call(endpoint: str) -> bool:
    base = base_of(endpoint)
    bases = [settings.REST_WORKER_BASE_URL] if settings.REST_WORKER_BASE_URL else []
    if not base or (endpoint and endpoint_errors(endpoint)):
        return False
    return _origin(base) in {_origin(allowed) for allowed in [*settings.REST_WORKER_ORIGINS, *bases]}


def blocked_reason(endpoint: str) -> str:
    """Return why a worker with this endpoint gets no work, as stored on its row; empty if it may be called."""
    return "" if may_call(endpoint) else WorkerEligibility.Reason.ENDPOINT_NOT_ALLOWED.value


def call(
    endpoint: str,
    tenant: str,
    method: str,
    path: str,
    body: bytes = b"",
    *,
    most_seconds: float = math.inf,
    most_bytes: float = math.inf,
    is_wanted: Callable[[], bool] | None = None,
    traceparent: str = NONE,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> Response:
    """One signed request to the worker at `endpoint`. Closes the connection once `is_wanted` returns False.

    While several secrets are active, a worker that answers 401 is called again with the next one. It verifies the
    signature first, so the refused call had no effect. All exchanges together take at most
    REST_WORKER_TIMEOUT_SECONDS, and at most `most_seconds`. No further secret is tried once this time is over, counted
    from before the first connection. The response has at most MAX_ANSWER_BYTES, and at most `most_bytes`:
    a longer one is not `complete`. `traceparent` is sent in the header of that name, unless it is empty. `headers` are
    sent in addition to those of the signature, which does not cover them.

    Raises `TargetRefused` for an origin that is not on the list, `Unreachable` for a name that does not resolve, and
    what `exchange` raises.
    """
    if not may_call(endpoint):
        raise TargetRefused(NOT_ALLOWED)
    target = vet(base_of(endpoint) + path, allowed=ANYWHERE)
    until = time.monotonic() + min(settings.REST_WORKER_TIMEOUT_SECONDS, most_seconds)
    unsigned = {**headers, "traceparent": traceparent} if traceparent else dict(headers)
    for secret in secrets_of(tenant):
        answer = exchange(
            target,
            method,
            body,
            headers=signed_headers(secret, method, path, body, now=timezone.now()) | unsigned,
            connect_seconds=CONNECT_SECONDS,
            seconds=max(until - time.monotonic(), 0.001),
            limit=int(min(MAX_ANSWER_BYTES, most_bytes)),
            ca_file=settings.REST_WORKER_CA_FILE,
            is_wanted=is_wanted,
        )
        if answer.status != UNAUTHORIZED or time.monotonic() >= until:
            break
    return answer


def secrets_of(tenant: str) -> list[str]:
    """Return the secrets that sign calls, newest first: REST_WORKER_SECRET, or the tenant's worker keys."""
    if settings.REST_WORKER_SECRET:
        return [settings.REST_WORKER_SECRET, *settings.REST_WORKER_SECRET_FALLBACKS]
    return [key.text for key in active_keys(tenant)]


def _origin(url: str) -> Sequence[object]:
    try:
        address = urlsplit(url)
        return address.scheme, (address.hostname or "").rstrip("."), address.port or DEFAULT_PORTS.get(address.scheme)
    except ValueError:
        return ()


log = logging.getLogger(__name__)
KINDS: Final = {TransitionResult: "result", Capabilities: "capabilities"}
_logged = NewNames()


def read(model: type[Message], body: bytes) -> Message:
    """Return the message in `body`. Raises `Malformed`."""
    message = parse(model, body)
    if names := unknown_members(message):
        kind = KINDS[model]
        metrics.unknown_members.add(kind, amount=len(names))
        for name in _logged.among(names):
            log.info("Ignored the unknown member %s of a REST worker's %s", name, kind)
    return message


CALL_TASK = "executions.call_rest_worker"


def send_claims(claims: Sequence[Claim]) -> list[Claim]:
    """Send a message for each claim. Return the claims that were not sent because the broker refuses messages.

    The claims are committed.
    """
    for place, claim in enumerate(claims):
        arguments = (str(claim.execution_id), str(claim.lease_token))
        if not gate.send(partial(current_app.send_task, CALL_TASK, args=arguments, retry=False)):
            return list(claims[place:])
        metrics.dispatched.add(claim.tenant, claim.pipeline_id, claim.release_version)
    return []


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
    named = [artifact for artifact in artifacts if artifact_digest in ("", artifact.digest)]
    if not named:
        pinned = ", ".join(sorted({artifact.digest for artifact in artifacts}))
        return f"Worker artifact digest {shown(artifact_digest)} does not match active release artifact digest {pinned}"
    ids = {artifact.artifact_id for artifact in named}
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
