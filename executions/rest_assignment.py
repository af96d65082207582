"""Which of the claimed executions REST workers are to have, and the messages that tell of them.

The workers of a release share its work by their free places, whatever way they are called. A claim for a REST worker
is leased in the worker's name, which is how its load is known, and goes as a message to a queue of its own, since
requests may be slow.
"""

import logging
import random
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from celery import current_app
from django.conf import settings
from django.db import connection
from django.db.models import Count, F, Sum
from django.utils import timezone
from kombu.exceptions import OperationalError

from executions.models import Execution, Worker
from executions.moves import Claim
from executions.rest_calls import lease_seconds, may_call
from executions.states import State
from executions.worker_registry import CELERY, REST, in_state
from releases.identity import ReleaseIdentity

log = logging.getLogger(__name__)
CALL_TASK = "executions.call_rest_worker"
OWNER = "rest:"


def owner_of(worker: Worker) -> str:
    """The name in which a REST worker's leases are held."""
    return f"{OWNER}{worker.pk}:{worker.worker_id}"[:200]


def worker_pk(owner: str) -> int:
    return int(owner.removeprefix(OWNER).partition(":")[0])


@dataclass(slots=True)
class _Place:
    """Somewhere that claims of one release can go: a REST worker, or with None the release's own queue."""

    owner: str | None
    free: int
    claims: list[Claim] = field(default_factory=list)

    def take(self, claim: Claim) -> None:
        self.claims.append(claim)
        self.free -= 1


def share(claims: Sequence[Claim], give_back: Callable[[list[Claim]], None]) -> list[Claim]:
    """Hand to REST workers their share of `claims`, and return what is left for the queues of the releases.

    The claims are committed. `give_back` gets what the broker does not take.
    """
    workers = _rest_workers(claims)
    if not workers:
        return list(claims)
    left: list[Claim] = []
    for identity, group in _by_identity(claims).items():
        if identity not in workers:
            left += group
            continue
        places = _places(identity, workers[identity], len(group))
        for claim in group:
            _chosen(places).take(claim)
        for place in places:
            if place.owner is None:
                left += place.claims
            else:
                _hand_over(place.owner, place.claims, give_back)
    return left


def _chosen(places: Sequence[_Place]) -> _Place:
    """One of the places by chance, the more likely the more is free there: so none is idle while others have work."""
    weights = [max(place.free, 0) for place in places]
    if not any(weights):
        return max(places, key=lambda place: place.free)
    return random.choices(places, weights)[0]  # noqa: S311 - it guards nothing


def _by_identity(claims: Sequence[Claim]) -> dict[ReleaseIdentity, list[Claim]]:
    groups: dict[ReleaseIdentity, list[Claim]] = defaultdict(list)
    for claim in claims:
        identity = ReleaseIdentity(claim.tenant, claim.pipeline_id, claim.contract_version, claim.release_version)
        groups[identity].append(claim)
    return groups


def _rest_workers(claims: Sequence[Claim]) -> dict[ReleaseIdentity, list[Worker]]:
    """Those that may be called, by the release that they host."""
    # Whose pace is known has no REST worker: the claim tells it only of releases that Celery workers alone host.
    claims = [claim for claim in claims if claim.seconds is None]
    if not claims:
        return {}
    rows = Worker.objects.select_related("tenant").filter(
        protocol=REST,
        draining_since=None,
        drained_by_operator_at=None,
        stopped_at=None,
        tenant__slug__in={claim.tenant for claim in claims},
        release_version__in={claim.release_version for claim in claims},
    )
    found: dict[ReleaseIdentity, list[Worker]] = defaultdict(list)
    for row in rows:
        if may_call(row.endpoint):
            identity = ReleaseIdentity(row.tenant.slug, row.pipeline_id, row.contract_version, row.release_version)
            found[identity].append(row)
    return found


def _places(identity: ReleaseIdentity, workers: Sequence[Worker], claimed: int) -> list[_Place]:
    running = Execution.objects.filter(
        status=State.RUNNING,
        tenant__slug=identity.tenant_id,
        pipeline_id=identity.pipeline_id,
        release_version=identity.release_version,
    )
    held = dict(running.values_list("lease_owner").annotate(Count("pk")))
    places = [_Place(owner_of(each), each.capacity - held.get(owner_of(each), 0)) for each in workers]
    hosts = Worker.objects.filter(
        tenant__slug=identity.tenant_id,
        pipeline_id=identity.pipeline_id,
        contract_version=identity.contract_version,
        release_version=identity.release_version,
        protocol=CELERY,
    )
    capacity = in_state(hosts, "HEALTHY", timezone.now()).aggregate(total=Sum(F("capacity") - F("abandoned")))["total"]
    if capacity is not None:
        # What was just claimed is held in the dispatcher's name, as is all that went to the release's own queue.
        elsewhere = sum(count for owner, count in held.items() if not owner.startswith(OWNER)) - claimed
        places.append(_Place(None, capacity - elsewhere))
    return places


_LEASE = """
UPDATE executions_execution e
SET lease_owner = %(owner)s, lease_expires_at = now() + make_interval(secs => %(lease)s)
FROM unnest(%(ids)s::uuid[], %(tokens)s::uuid[]) AS claimed(id, token)
WHERE e.id = claimed.id AND e.lease_token = claimed.token AND e.status = 'RUNNING'
"""


def _hand_over(owner: str, claims: list[Claim], give_back: Callable[[list[Claim]], None]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            _LEASE,
            {
                "owner": owner,
                "lease": max(settings.LEASE_SECONDS, lease_seconds()),
                "ids": [claim.execution_id for claim in claims],
                "tokens": [claim.lease_token for claim in claims],
            },
        )
    for place, claim in enumerate(claims):
        if not _sent(claim.execution_id, claim.lease_token):
            give_back(claims[place:])
            return


def _sent(execution_id: uuid.UUID, lease_token: uuid.UUID) -> bool:
    try:
        current_app.send_task(CALL_TASK, args=(str(execution_id), str(lease_token)), retry=False)
    except (OperationalError, OSError) as error:
        log.warning("The broker did not take a call for %s: %s", execution_id, type(error).__name__)
        return False
    return True
