"""The spans of calls to REST workers."""

from executions.models import AwaitUnit, Execution
from foundation.telemetry import traces
from foundation.telemetry.traces import Kind, Span


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
