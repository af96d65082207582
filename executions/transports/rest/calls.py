"""Calls to REST workers: signed, and only to the origins that the installation names (wire protocol D.1 to D.3)."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import ip_network
from typing import Final
from urllib.parse import urlsplit

from celery import current_app
from django.conf import settings
from django.utils import timezone

from executions import metrics
from executions.models import WorkerEligibility
from executions.state_machine.moves import Claim
from executions.workers.eligibility import NOT_ALLOWED
from executions.workers.tenant_keys import active_keys
from foundation import address_guard
from foundation.address_guard import TargetRefused
from foundation.broker_gate import gate
from foundation.exchange import Response, exchange
from wire.addresses import DEFAULT_PORTS
from wire.messages.rest_messages import Capabilities, Message, NewNames, TransitionResult, parse, unknown_members
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
    seconds: float = CONNECT_SECONDS * address_guard.MOST_ADDRESSES
    return seconds + float(settings.REST_WORKER_TIMEOUT_SECONDS) + 10 + settings.MESSAGE_PATH_SECONDS


def base_of(endpoint: str) -> str:
    """Return the URL at which a worker with this endpoint is called; without one, the installation's base URL."""
    return (endpoint or settings.REST_WORKER_BASE_URL).rstrip("/")


def endpoint_errors(endpoint: str) -> list[dict[str, str]]:
    """Return an error for each rule that the form of a worker's endpoint breaks. It must be an origin without a path.

    Otherwise a client that registers a worker could choose the paths that the coordinator calls.
    """
    try:
        parts = urlsplit(endpoint)
        is_url = parts.scheme in DEFAULT_PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url or not endpoint.isascii() or any(character in "\\ " or ord(character) < 33 for character in endpoint):
        return [_endpoint_error("ENDPOINT_NOT_A_URL", "must be a URL such as https://worker.example:8443")]
    rules = (
        ("ENDPOINT_HAS_USER_INFO", "@" in parts.netloc, "must not contain user info"),
        ("ENDPOINT_HAS_ZONE", "%" in parts.netloc, "must not contain a zone id or an escaped host"),
        ("ENDPOINT_HAS_PATH", parts.path.strip("/") != "", "must not contain a path: the protocol names every path"),
        ("ENDPOINT_HAS_QUERY", "?" in endpoint, "must not contain a query"),
        ("ENDPOINT_HAS_FRAGMENT", "#" in endpoint, "must not contain a fragment"),
    )
    return [_endpoint_error(code, message) for code, broken, message in rules if broken]


def _endpoint_error(code: str, message: str) -> dict[str, str]:
    return {"field": "endpoint", "code": code, "message": message}


def may_call(endpoint: str) -> bool:
    base = base_of(endpoint)
    own = [settings.REST_WORKER_BASE_URL] if settings.REST_WORKER_BASE_URL else []
    if not base or (endpoint and endpoint_errors(endpoint)):
        return False
    return _origin(base) in {_origin(allowed) for allowed in [*settings.REST_WORKER_ORIGINS, *own]}


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
) -> Response:
    """One signed request to the worker at `endpoint`. Closes the connection once `is_wanted` returns False.

    While several secrets are active, a worker that answers 401 is called again with the next one. It verifies the
    signature first (wire protocol D.4), so the refused call had no effect. All exchanges together take at most
    REST_WORKER_TIMEOUT_SECONDS, and at most `most_seconds`. No further secret is tried once this time is over, counted
    from before the first connection. The response has at most MAX_ANSWER_BYTES, and at most `most_bytes`:
    a longer one is not `complete`. `traceparent` is sent in the header of that name, unless it is empty.

    Raises `TargetRefused` for an origin that is not on the list, `Unreachable` for a name that does not resolve, and
    what `exchange` raises.
    """
    if not may_call(endpoint):
        raise TargetRefused(NOT_ALLOWED)
    target = address_guard.vet(base_of(endpoint) + path, allowed=ANYWHERE)
    until = time.monotonic() + min(settings.REST_WORKER_TIMEOUT_SECONDS, most_seconds)
    traced = {"traceparent": traceparent} if traceparent else {}
    for secret in secrets_of(tenant):
        answer = exchange(
            target,
            method,
            body,
            headers=signed_headers(secret, method, path, body, now=timezone.now()) | traced,
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
        parts = urlsplit(url)
        return parts.scheme, (parts.hostname or "").rstrip("."), parts.port or DEFAULT_PORTS.get(parts.scheme)
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
