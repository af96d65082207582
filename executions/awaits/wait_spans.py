"""The spans of awaits: one when a run is suspended, and one that covers the wait. Their links lead forward and back.

The span of a wait is made when the wait is over, but its id is known from the start: it is the first half of the
unit's id. So what came before can link to it.
"""

import uuid
from datetime import datetime

from django.db import transaction

from foundation.telemetry import traces
from foundation.telemetry.traces import Kind


def suspended(run: str, unit_id: uuid.UUID, step_id: str) -> None:
    """Make the span of a suspension, once the transaction commits. It links to the span of the wait.

    `run` is the context of the run that reached the await.
    """

    def make() -> None:
        wait = f"{run[:36]}{_span_id(unit_id):016x}{run[52:]}"
        traces.begin(f"suspend {step_id}", Kind.INTERNAL, run, _attributes(unit_id, step_id), links=[wait]).end()

    transaction.on_commit(make)


def over(run: str, unit_id: uuid.UUID, step_id: str, *, since: datetime, error_class: str = "") -> None:
    """Make the span of a wait that ends now, once the transaction commits. It links to the suspended run.

    `error_class` says why the await was lost; empty if it was answered.
    """

    def make() -> None:
        span = traces.begin(
            f"await {step_id}",
            Kind.INTERNAL,
            run,
            _attributes(unit_id, step_id),
            links=[run],
            at=since.timestamp(),
            span_id=_span_id(unit_id),
        )
        if error_class:
            span.fail(error_class)
        span.end()

    transaction.on_commit(make)


def _span_id(unit_id: uuid.UUID) -> int:
    return unit_id.int >> 64


def _attributes(unit_id: uuid.UUID, step_id: str) -> dict[str, str]:
    return {"pipelines.unit": str(unit_id), "pipelines.step": step_id}
