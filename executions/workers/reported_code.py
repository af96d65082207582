"""What Celery workers report about their code and their Python environment, and what follows from it."""

from collections.abc import Iterator
from typing import Any

from executions.models import CodeOrigin, Worker
from releases.models import Pipeline, UnverifiedWorkers
from wire.messages.celery_messages import Heartbeat

SHOWN_DIFFERENCES = 5
"""How many differences an event names. The worker's row has more of them."""


def reported(heartbeat: Heartbeat, before: Worker | None) -> dict[str, object]:
    """Return the columns that a heartbeat sets. The environment, which may be large, is among them if it changed."""
    columns: dict[str, object] = {"code": heartbeat.code or ""}
    fingerprint, environment = _environment(heartbeat)
    if before is None or (before.environment_fingerprint, before.environment) != (fingerprint, environment):
        columns |= {"environment_fingerprint": fingerprint, "environment": environment}
    return columns


def changes(heartbeat: Heartbeat, before: Worker | None, *, hosts_anew: bool) -> Iterator[dict[str, Any]]:
    """Yield the data of the events that a heartbeat causes: what changed since the row `before`, and drift.

    The drift of a worker is an event when its differences change, and when it registers or changes its release
    (`hosts_anew`).
    """
    fingerprint, environment = _environment(heartbeat)
    code = heartbeat.code or ""
    if before is not None and before.code != code:
        yield {"cause": "CODE_CHANGED", "code": code or None, "previousCode": before.code or None}
    if before is not None and before.environment_fingerprint != fingerprint:
        yield {
            "cause": "ENVIRONMENT_CHANGED",
            "fingerprint": fingerprint or None,
            "previousFingerprint": before.environment_fingerprint or None,
        }
    differences = environment["differences"] if environment else []
    known = before.environment["differences"] if before is not None and before.environment else []
    if environment and environment["differenceCount"] and (hosts_anew or differences != known):
        count = environment["differenceCount"]
        yield {
            "cause": "ENVIRONMENT_DRIFT",
            "differences": differences[:SHOWN_DIFFERENCES],
            "differenceCount": count,
        }


def is_refused(tenant_id: int, pipeline_id: str, code: str) -> bool:
    """Return True if a worker with this origin of its code must accept no commands.

    The workers of a release share a queue, so such a worker is instructed to drain. The view `WorkerEligibility`
    applies the same policy to claims and submissions. A pipeline that does not exist yet has the default policy.
    """
    if code != CodeOrigin.SOURCE:
        return False
    allowing = Pipeline.objects.filter(unverified_workers=UnverifiedWorkers.ALLOW)
    return not allowing.filter(tenant=tenant_id, pipeline_id=pipeline_id).exists()


def _environment(heartbeat: Heartbeat) -> tuple[str, dict[str, Any] | None]:
    """Return the fingerprint and the JSON of the reported environment; an empty one and None without a report."""
    environment = heartbeat.environment
    if environment is None:
        return "", None
    return environment.fingerprint, {
        "python": environment.python,
        "platform": environment.platform,
        "differences": environment.differences,
        "differenceCount": max(environment.difference_count, len(environment.differences)),
    }
