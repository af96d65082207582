"""The spans of commands on their way to a worker, and of calls of REST workers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from executions.models import AwaitUnit, Execution
from executions.state_machine.moves import Claim
from foundation.telemetry import traces
from foundation.telemetry.traces import Attributes, Kind, Span
from wire.traceparent import NONE


@dataclass(frozen=True, slots=True)
class Contexts:
    """What a command says of its trace: the span that sent it, and the run whose await it resumes."""

    traceparent: str = NONE
    suspended_run: str = NONE


UNTRACED = Contexts()


class Sending:
    """Messages that are being sent. `contexts` has the traced executions by their lease tokens."""

    def __init__(self, spans: Mapping[Claim, Span]) -> None:
        self._spans = spans
        self._contexts = {
            claim.lease_token: Contexts(span.traceparent, _suspended_run(claim)) for claim, span in spans.items()
        }

    def of(self, claim: Claim) -> Contexts:
        """Return the contexts for the command of `claim`."""
        return self._contexts.get(claim.lease_token, UNTRACED) if self._contexts else UNTRACED

    def fail(self, error_class: str) -> None:
        """Mark the spans as failed."""
        for span in self._spans.values():
            span.fail(error_class)


@contextmanager
def sending(claims: Sequence[Claim], queue: str) -> Iterator[Sending]:
    """Make a span for the claim and the message of each traced execution."""
    spans = {claim: _begin(claim, queue) for claim in claims if claim.traceparent}
    with traces.ended(*spans.values()):
        yield Sending(spans)


def _begin(claim: Claim, queue: str) -> Span:
    return traces.begin(
        "send command",
        Kind.PRODUCER,
        _submission(claim),
        {"messaging.operation.type": "send", "messaging.destination.name": queue, **attributes_of(claim)},
        at=traces.monotonic_start(claim.claimed_at),
    )


def attributes_of(claim: Claim) -> Attributes:
    """Return the attributes that describe a transition."""
    return {
        "pipelines.tenant": claim.tenant,
        "pipelines.pipeline": claim.pipeline_id,
        "pipelines.release": claim.release_version,
        "pipelines.execution": str(claim.execution_id),
        "pipelines.step.index": claim.step_index,
        "pipelines.attempt": claim.attempt,
    }


def _submission(claim: Claim) -> str:
    return (claim.traceparent or NONE).partition(" ")[0]


def _suspended_run(claim: Claim) -> str:
    return (claim.traceparent or NONE).partition(" ")[2]


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
            "pipelines.tenant": execution.tenant.slug,
            "pipelines.pipeline": execution.pipeline_id,
            "pipelines.release": execution.release_version,
            "pipelines.execution": str(execution.pk),
            "pipelines.step.index": execution.current_step_index,
            "pipelines.attempt": execution.attempt,
        },
        links=[run] if run else [],
    )
