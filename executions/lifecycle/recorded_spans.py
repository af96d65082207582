"""The spans in which outcomes are recorded."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

from foundation.telemetry import traces
from foundation.telemetry.traces import Kind
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import Outcome


def recording(identity: ReleaseIdentity, outcomes: Iterable[Outcome]) -> AbstractContextManager[None]:
    """Make a span for each traced outcome of a group, as a child of its run. All cover the recording of the group."""
    traced = [each for each in outcomes if each.traceparent]
    if not traced:
        return nullcontext()
    return traces.ended(
        *(
            traces.begin(
                "record outcome",
                Kind.CONSUMER,
                outcome.traceparent,
                {
                    "pipelines.tenant": identity.tenant_id,
                    "pipelines.pipeline": identity.pipeline_id,
                    "pipelines.release": identity.release_version,
                    "pipelines.execution": str(outcome.execution_id),
                    "pipelines.outcome": outcome.outcome,
                },
            )
            for outcome in traced
        )
    )
