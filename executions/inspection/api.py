"""REST: reads the executions of a tenant."""

import uuid
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from django.http import HttpResponse
from django.urls import get_script_prefix, path, reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request

from executions.errors import ExecutionUnfinished, ExecutionUnknown
from executions.lifecycle import queries
from executions.models import Execution, StepReport
from executions.models.execution import WAITS_FOR_PLACE
from executions.models.states import PRIORITIES, PRIORITY_NAMES, TERMINAL, State
from executions.step_reports import step_reports
from foundation.errors import InvalidRequest, TooManyRequests
from releases.api import EnvelopeView, PausableView, pause_of
from releases.errors import ProvenanceKeyMissing
from releases.step_names import calls_pipelines, step_at
from releases.trust import trust
from tenancy.api.authentication import WITHHELD, holds_any
from tenancy.api.operations import TenantView, operation, refuses
from tenancy.audit.acts import declares
from tenancy.roles import Scope
from wire.documents.execution_statement import ENVELOPE_MEDIA_TYPE
from wire.documents.signing import key_id, to_pem

BUSINESS_KEY_HELP = (
    "The idempotency key with which the input was submitted first. Resubmissions have the business key of the original."
)


class PinView(serializers.Serializer[Execution]):
    pipelineId = serializers.CharField(source="pipeline_id")
    contractVersion = serializers.CharField(source="contract_version")
    releaseVersion = serializers.CharField(source="release_version")


class ErrorView(serializers.Serializer[Execution]):
    code = serializers.CharField(source="error_code")
    message = serializers.CharField(source="error_message")


class ExecutionErrorView(ErrorView):
    message = serializers.CharField(source="error_message", allow_null=True, help_text=WITHHELD)


class FailureView(ExecutionErrorView):
    traceback = serializers.CharField(
        allow_null=True,
        read_only=True,
        help_text="The traceback of the step, without values of variables. Empty if the worker reported none. "
        + WITHHELD,
    )


class LinksView(serializers.Serializer[Any]):
    self = serializers.URLField()
    result = serializers.URLField()
    events = serializers.URLField()
    provenance = serializers.URLField()


def links_of(address: str) -> dict[str, str]:
    """Return the members of `LinksView` for the execution with this URL."""
    return {"self": address, **{name: f"{address}/{name}" for name in ("result", "events", "provenance")}}


# The fields describe what `execution_json` writes. DRF would make each of them again for each response.
class ExecutionView(PausableView[Execution]):
    executionId = serializers.UUIDField(source="id")
    pin = PinView(source="*")
    idempotencyKey = serializers.CharField(source="execution_key")
    businessKey = serializers.CharField(source="business_key", help_text=BUSINESS_KEY_HELP)
    status = serializers.ChoiceField(
        choices=[state.value for state in State],
        help_text="RUNNING means that a worker has a lease. `runningSince` is set once a thread has started it.",
    )
    worker = serializers.CharField(
        source="lease_worker",
        allow_null=True,
        help_text="The worker that has the lease. Null until the worker has reported the execution.",
    )
    runningSince = serializers.DateTimeField(
        source="running_since",
        allow_null=True,
        help_text="When a thread started it, or the REST worker was called. Null until a heartbeat has reported this.",
    )
    smoke = serializers.BooleanField(help_text="True if it is a smoke test, which counts for no statistics.")
    version = serializers.IntegerField()
    currentStepIndex = serializers.IntegerField(source="current_step_index")
    attempt = serializers.IntegerField()
    nextDueAt = serializers.DateTimeField(
        source="due_at", allow_null=True, help_text="Null while it waits for a place of its concurrency key."
    )
    error = ExecutionErrorView(allow_null=True, read_only=True)
    submittedBy = serializers.CharField(source="submitted_by")
    tags = serializers.ListField(child=serializers.CharField(), read_only=True, help_text="The tags of the submission.")
    notBefore = serializers.DateTimeField(
        source="not_before", allow_null=True, help_text="It starts no earlier. Null if the submission named no time."
    )
    expiresAt = serializers.DateTimeField(
        source="expires_at", allow_null=True, help_text="It is cancelled if no worker got it by then. Null for never."
    )
    priority = serializers.ChoiceField(choices=[*PRIORITIES])
    concurrencyKey = serializers.CharField(
        source="concurrency_key",
        allow_null=True,
        help_text="The release declares how many executions with this key may be in progress. Null for any number.",
    )
    createdAt = serializers.DateTimeField(source="created_at")
    updatedAt = serializers.DateTimeField(source="updated_at")
    finishedAt = serializers.DateTimeField(source="finished_at", allow_null=True)
    links = LinksView(read_only=True)

    def to_representation(self, instance: Execution) -> dict[str, Any]:
        request: Request = self.context["request"]
        address = request.build_absolute_uri(_executions_path(get_script_prefix(), instance.tenant.slug))
        return execution_json(instance, f"{address}/{instance.pk}", payloads=holds_any(request.auth, Scope.PAYLOADS))


@lru_cache(1000)
def _executions_path(prefix: str, tenant: str) -> str:
    """Return the path of a tenant's executions. A search for it makes twenty calls, for each execution of a list."""
    return reverse("api:executions", args=(tenant,))


def execution_json(execution: Execution, address: str, *, payloads: bool) -> dict[str, Any]:
    """Return the members of `ExecutionView`. `address` is the URL of the execution.

    Without `payloads`, its error has no message.
    """
    error = {"code": execution.error_code, "message": execution.error_message if payloads else None}
    return {
        "executionId": str(execution.pk),
        "pin": {
            "pipelineId": execution.pipeline_id,
            "contractVersion": execution.contract_version,
            "releaseVersion": execution.release_version,
        },
        "idempotencyKey": execution.execution_key,
        "businessKey": execution.business_key,
        "status": execution.status,
        "worker": execution.lease_worker,
        "runningSince": instant(execution.running_since),
        "smoke": execution.smoke,
        "version": execution.version,
        "currentStepIndex": execution.current_step_index,
        "attempt": execution.attempt,
        "nextDueAt": instant(execution.next_due_at if execution.next_due_at < WAITS_FOR_PLACE else execution.due_at),
        "error": error if execution.error_code else None,
        "submittedBy": execution.submitted_by,
        "tags": execution.tags or [],
        "notBefore": execution.not_before and instant(execution.not_before),
        "expiresAt": execution.expires_at and instant(execution.expires_at),
        "priority": PRIORITY_NAMES[execution.priority],
        "concurrencyKey": execution.concurrency_key,
        "createdAt": instant(execution.created_at),
        "updatedAt": instant(execution.updated_at),
        "finishedAt": instant(execution.finished_at),
        "links": links_of(address),
        "paused": pause_of(execution),
    }


def instant(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat().replace("+00:00", "Z")


class NamedExecutionView(ExecutionView):
    currentStepName = serializers.CharField(
        read_only=True,
        help_text="The author's name of the step at `currentStepIndex`. Empty if the execution has ended.",
    )

    def to_representation(self, instance: Execution) -> dict[str, Any]:
        shown = super().to_representation(instance)
        step = step_at(instance.release_id, instance.contract_version, instance.current_step_index)
        shown["currentStepName"] = "" if instance.finished_at else step.name
        return shown


class ResubmittedView(serializers.Serializer[Any]):
    executionId = serializers.UUIDField(source="resubmission.new_execution_id")
    releaseVersion = serializers.CharField(
        source="release_version", help_text="Empty if the execution was removed after its retention period."
    )
    status = serializers.CharField(help_text="The current status of the execution. Empty if it was removed.")
    edited = serializers.BooleanField(source="resubmission.edited", help_text="True if it has another input.")
    checkpointStep = serializers.IntegerField(
        source="resubmission.checkpoint_step",
        allow_null=True,
        help_text="The step at which it starts, with the checkpoint. Null if it starts with the input.",
    )
    items = serializers.IntegerField(
        source="resubmission.items",
        allow_null=True,
        help_text="The number of items that it runs again, because they failed at that step. Null for a checkpoint.",
    )
    reason = serializers.CharField(source="resubmission.reason")
    actor = serializers.CharField(source="resubmission.actor")
    campaignId = serializers.UUIDField(source="resubmission.campaign_id", allow_null=True)
    createdAt = serializers.DateTimeField(source="resubmission.created_at")


class ItemProgressView(serializers.Serializer[Any]):
    stepIndex = serializers.IntegerField(source="step_index")
    done = serializers.IntegerField(help_text="How many items are finished and stored, with the failed ones.")
    failed = serializers.IntegerField(help_text="How many of them failed and were collected.")
    total = serializers.IntegerField()


class StepProgressView(serializers.Serializer[StepReport]):
    done = serializers.IntegerField()
    total = serializers.IntegerField(allow_null=True, help_text="Null if the step did not say.")
    message = serializers.CharField(allow_null=True, help_text=WITHHELD)
    at = serializers.DateTimeField(source="reported_at")


def _progress_of(execution: Execution, *, withheld: bool) -> dict[str, Any] | None:
    report = step_reports.newest(execution)
    if report is None or report.done is None:
        return None
    shown: dict[str, Any] = StepProgressView(report).data
    return {**shown, "message": None} if withheld else shown


class ChildView(serializers.Serializer[Execution]):
    executionId = serializers.UUIDField(source="id")
    pipelineId = serializers.CharField(source="pipeline_id")
    releaseVersion = serializers.CharField(source="release_version")
    status = serializers.ChoiceField(choices=[state.value for state in State])
    stepIndex = serializers.IntegerField(help_text="The step that called it.")
    itemIndex = serializers.IntegerField(allow_null=True, help_text="The item of the stream. Null without a stream.")


def _children(caller: Execution) -> list[dict[str, Any]]:
    from executions.children.calls import Place, children  # most executions call no pipeline

    places = [(child, Place.of_child(child)) for child in children(caller)]
    return [
        {
            "executionId": str(child.pk),
            "pipelineId": child.pipeline_id,
            "releaseVersion": child.release_version,
            "status": child.status,
            "stepIndex": place.step_index,
            "itemIndex": place.item_index,
        }
        for child, place in places
    ]


class OneExecutionView(NamedExecutionView):
    progress = StepProgressView(
        allow_null=True, read_only=True, help_text="The newest progress that a step reported. Null if none did."
    )
    itemProgress = ItemProgressView(
        allow_null=True,
        read_only=True,
        help_text="How far the current step is with the items of its stream. Null if none is stored.",
    )
    error = FailureView(allow_null=True, read_only=True)
    resubmittedFrom = serializers.UUIDField(
        allow_null=True,
        read_only=True,
        help_text="The execution that this one resubmits. Null for a submission, or if that execution was removed.",
    )
    resubmittedAs = ResubmittedView(
        many=True,
        read_only=True,
        help_text="The executions that resubmit this one: the newest 20, newest first.",
    )

    parentExecutionId = serializers.UUIDField(
        allow_null=True, read_only=True, help_text="The execution whose step called this one. Null if none did."
    )
    children = ChildView(
        many=True,
        read_only=True,
        help_text="The executions that steps of this one called: the newest 100, newest first.",
    )

    def to_representation(self, instance: Execution) -> dict[str, Any]:
        shown = super().to_representation(instance)
        withheld = not holds_any(self.context["request"].auth, Scope.PAYLOADS)
        shown["progress"] = _progress_of(instance, withheld=withheld) if instance.reported else None
        if shown["error"]:
            shown["error"]["traceback"] = None if withheld else queries.traceback(instance)
        items = queries.items(instance)
        shown["itemProgress"] = None if items is None else ItemProgressView(items).data
        origin, links = queries.origin(instance), queries.links(instance)
        shown["parentExecutionId"] = instance.parent_id and str(instance.parent_id)
        is_caller = calls_pipelines(instance.release_id, instance.contract_version)
        shown["children"] = _children(instance) if is_caller else []
        shown["resubmittedFrom"] = origin.execution_id if origin else None
        shown["resubmittedAs"] = ResubmittedView(links, many=True).data if links else []
        return shown


class ResultView(serializers.Serializer[Execution]):
    executionId = serializers.UUIDField(source="id")
    pin = PinView(source="*")
    status = serializers.ChoiceField(choices=[state.value for state in sorted(TERMINAL)])
    result = serializers.SerializerMethodField(help_text="Null unless the execution succeeded.")
    error = serializers.SerializerMethodField(help_text="Why it failed. Null if it succeeded or was cancelled.")

    @extend_schema_field({})
    def get_result(self, execution: Execution) -> Any:
        return queries.result(execution)

    @extend_schema_field(ErrorView(allow_null=True))
    def get_error(self, execution: Execution) -> Any:
        return ErrorView(execution).data if execution.error_code else None


LONGEST_WAIT: Final = 30
WAIT: Final = OpenApiParameter(
    "wait",
    {"type": "integer", "minimum": 0, "maximum": LONGEST_WAIT},
    description="Respond when the execution has ended, or after this number of seconds.",
)
WAIT_REFUSALS: Final = (InvalidRequest, TooManyRequests)
"""The errors of requests with WAIT, which `coordinator.waits` raises."""


@operation("executions", "execution", OneExecutionView, method="GET")
@extend_schema(parameters=[WAIT])
@refuses(ExecutionUnknown, *WAIT_REFUSALS)
def one_execution(view: TenantView, execution_id: uuid.UUID) -> Any:
    """One execution: its pin, status, attempt, and last error with the traceback of the step."""
    return queries.state(view.tenant, execution_id)


@operation("executions", "executionResult", ResultView, method="GET")
@extend_schema(parameters=[WAIT])
@declares(None, Scope.PAYLOADS)
@refuses(ExecutionUnknown, ExecutionUnfinished, *WAIT_REFUSALS)
def execution_result(view: TenantView, execution_id: uuid.UUID) -> Any:
    """The outcome of an execution that has ended: its result, or its error.

    Until then the response is the problem `EXECUTION_UNFINISHED`.
    """
    return queries.finished(view.tenant, execution_id)


class ProvenanceKeyView(serializers.Serializer[Any]):
    keyId = serializers.CharField(help_text="The hex SHA-256 of the key in DER form.")
    publicKey = serializers.CharField(help_text="The ed25519 public key in PEM form.")


@operation("executions", "executionProvenance", {(200, ENVELOPE_MEDIA_TYPE): EnvelopeView}, method="GET")
@refuses(ExecutionUnknown, ProvenanceKeyMissing)
def execution_provenance(view: TenantView, execution_id: uuid.UUID) -> Any:
    """Which code ran each part of an execution: an in-toto statement in a DSSE envelope.

    The document has the same bytes until the execution gets another event. `finished` is false in the document
    of an execution that has not finished.
    """
    execution = queries.execution(view.tenant, execution_id)
    headers = {"Content-Disposition": f'attachment; filename="{queries.provenance_file_name(execution)}"'}
    return HttpResponse(queries.signed_provenance(execution), content_type=ENVELOPE_MEDIA_TYPE, headers=headers)


@operation("executions", "provenanceKey", ProvenanceKeyView, method="GET")
@refuses(ProvenanceKeyMissing)
def provenance_key(view: TenantView) -> Any:
    """The public key that verifies provenance. It is the same for all tenants of the coordinator."""
    key = trust.statement_public_key()
    return {"keyId": key_id(key), "publicKey": to_pem(key)}


urlpatterns = [
    path("executions/<uuid:execution_id>", one_execution, name="execution"),
    path("executions/<uuid:execution_id>/result", execution_result, name="execution-result"),
    path("executions/<uuid:execution_id>/provenance", execution_provenance, name="execution-provenance"),
    path("provenance-key", provenance_key, name="provenance-key"),
]
