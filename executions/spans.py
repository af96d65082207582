"""The spans of an execution's way: its commands, its calls, the recording of outcomes, and its awaits.

An await has one span when a run is suspended, and one that covers the wait. Their links lead forward and back. The span
of a wait is made when the wait is over, but its id is known from the start: it is the first half of the unit's id. So
what came before can link to it.
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from executions.models import AwaitUnit, Execution
from executions.state_machine.moves import Claim
from foundation.telemetry import traces
from foundation.telemetry.traces import Attributes, Kind, Span
from releases.step_names import step_at
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import Outcome
from wire.traceparent import NONE


def _attributes(tenant: str, pipeline_id: str, release_version: str, execution_id: uuid.UUID) -> Attributes:
    return {
        "pipelines.tenant": tenant,
        "pipelines.pipeline": pipeline_id,
        "pipelines.release": release_version,
        "pipelines.execution": str(execution_id),
    }


# --- commands and calls ---


@dataclass(frozen=True, slots=True)
class Contexts:
    """What a command says of its trace: the span that sent it, and the run whose await it resumes."""

    traceparent: str = NONE
    suspended_run: str = NONE


UNTRACED = Contexts()


class Sending:
    """Messages that are being sent, with the spans of the traced executions by their lease tokens."""

    def __init__(self, spans: Mapping[uuid.UUID, Span]) -> None:
        self._spans = spans

    def of(self, claim: Claim) -> Contexts:
        span = self._spans.get(claim.lease_token) if self._spans else None
        return UNTRACED if span is None else Contexts(span.traceparent, (claim.traceparent or NONE).partition(" ")[2])

    def fail(self, error_class: str) -> None:
        for span in self._spans.values():
            span.fail(error_class)


@contextmanager
def sending(claims: Sequence[Claim], queue: str) -> Iterator[Sending]:
    """Make a span for the claim and the message of each traced execution."""
    spans = {claim.lease_token: _begin(claim, queue) for claim in claims if claim.traceparent}
    with traces.ended(*spans.values()):
        yield Sending(spans)


def _begin(claim: Claim, queue: str) -> Span:
    return traces.begin(
        "send command",
        Kind.PRODUCER,
        (claim.traceparent or NONE).partition(" ")[0],
        {
            "messaging.operation.type": "send",
            "messaging.destination.name": queue,
            **_attributes(claim.tenant, claim.pipeline_id, claim.release_version, claim.execution_id),
            "pipelines.step.index": claim.step_index,
            "pipelines.attempt": claim.attempt,
        },
        at=traces.monotonic_start(claim.claimed_at),
    )


def called(execution: Execution) -> Span:
    """Begin the span of a call for a traced execution. It links to the run whose await the execution resumes from."""
    suspended = AwaitUnit.objects.filter(
        execution=execution,
        status=AwaitUnit.Status.COMPLETED,
        step_index=execution.current_step_index - 1,
        traceparent__isnull=False,
    )
    run = suspended.order_by("-created_at").values_list("traceparent", flat=True).first()
    return traces.begin(
        "call worker",
        Kind.CLIENT,
        execution.traceparent or "",
        {
            "http.request.method": "POST",
            **_attributes(execution.tenant.slug, execution.pipeline_id, execution.release_version, execution.pk),
            "pipelines.step.index": execution.current_step_index,
            "pipelines.attempt": execution.attempt,
        },
        links=[run] if run else [],
    )


# --- outcomes ---


def recording(identity: ReleaseIdentity, outcomes: Iterable[Outcome]) -> AbstractContextManager[None]:
    """Make a span for each traced outcome of a group, as a child of its run. All cover the recording of the group."""
    traced = [outcome for outcome in outcomes if outcome.traceparent]
    if not traced:
        return nullcontext()
    release = identity.tenant_id, identity.pipeline_id, identity.release_version
    return traces.ended(
        *(
            traces.begin(
                "record outcome",
                Kind.CONSUMER,
                outcome.traceparent,
                {**_attributes(*release, outcome.execution_id), "pipelines.outcome": outcome.outcome},
            )
            for outcome in traced
        )
    )


# --- awaits ---


def suspended(run: str, unit_id: uuid.UUID) -> None:
    """Make the span of a suspension, once the transaction commits. It links to the span of the wait.

    `run` is the context of the run that reached the await.
    """
    step, attributes = _of_await(unit_id)

    def make() -> None:
        wait = f"{run[:36]}{_span_id(unit_id):016x}{run[52:]}"
        traces.begin(f"suspend {step}", Kind.INTERNAL, run, attributes, links=[wait]).end()

    transaction.on_commit(make)


def calling(run: str | None, unit_id: uuid.UUID) -> AbstractContextManager[None]:
    """Make the span of an attempt to submit a child, which continues the trace of the run that called it."""
    if not run:
        return nullcontext()
    _, attributes = _of_await(unit_id)
    return traces.within(traces.begin("call pipeline", Kind.PRODUCER, run, attributes))


def over(run: str, unit_id: uuid.UUID, *, since: datetime, error_class: str = "") -> None:
    """Make the span of a wait that ends now, once the transaction commits. It links to the suspended run.

    `error_class` says why the await was lost; empty if it was answered.
    """
    step, attributes = _of_await(unit_id)

    def make() -> None:
        span = traces.begin(
            f"await {step}",
            Kind.INTERNAL,
            run,
            attributes,
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


def _of_await(unit_id: uuid.UUID) -> tuple[str, Attributes]:
    """Return the name of the step that awaits, and the attributes of its spans."""
    places = AwaitUnit.objects.filter(pk=unit_id).order_by()
    place = places.values_list("execution__release", "execution__contract_version", "step_index").get()
    step = step_at(*place).title
    return step, {"pipelines.unit": str(unit_id), "pipelines.step": step}
