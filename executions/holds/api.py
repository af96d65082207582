"""REST: pauses and resumes executions, releases and pipelines, and lists what is paused."""

import uuid
from typing import Any

from django.urls import path
from rest_framework import serializers, status
from rest_framework.response import Response

from executions.errors import ExecutionUnknown, NotPaused, PauseRefused
from executions.holds.holds import MOST_COUNTED, Pause, open_holds, pause, resume
from executions.lifecycle.queries import execution
from executions.models import Hold
from foundation.api.fields import Flag, SegmentIdentifier, StrictSerializer, Text
from releases import queries
from releases.errors import PipelineUnknown, ReasonRequired, ReleaseUnknown
from releases.models import IDENTITY_LENGTH, Pipeline, Release
from tenancy.api.operations import TenantView, listing, operation, refuses
from tenancy.audit.acts import Act, declares
from tenancy.models import Tenant
from tenancy.roles import Scope

LONGEST_REASON = 1000


class PauseRequest(StrictSerializer):
    reason = Text(max_length=LONGEST_REASON)


class EndOfPauseRequest(StrictSerializer):
    reason = Text(max_length=LONGEST_REASON, required=False, allow_blank=True, default="")


class ReleaseMember(StrictSerializer):
    releaseVersion = SegmentIdentifier(
        max_length=IDENTITY_LENGTH,
        required=False,
        allow_null=True,
        default=None,
        source="release_version",
        help_text="The release that is meant. If omitted, it is the whole pipeline.",
    )


class PipelinePauseRequest(PauseRequest, ReleaseMember):
    refuseSubmissions = Flag(
        required=False,
        default=False,
        source="refuses_submissions",
        help_text="Refuse new executions during the pause with PIPELINE_PAUSED. Otherwise they are accepted and wait.",
    )


class EndOfPipelinePauseRequest(EndOfPauseRequest, ReleaseMember):
    pass


class HoldView(serializers.Serializer[Hold]):
    pipelineId = serializers.CharField(source="pipeline_name")
    releaseVersion = serializers.CharField(
        source="release_version", allow_null=True, help_text="Null if the whole pipeline is paused."
    )
    executionId = serializers.UUIDField(
        source="execution_id", allow_null=True, help_text="Null if a release or a pipeline is paused."
    )
    since = serializers.DateTimeField(source="started_at")
    by = serializers.CharField(source="started_by")
    reason = serializers.CharField()
    refusesSubmissions = serializers.BooleanField(source="refuses_submissions")
    resumedAt = serializers.DateTimeField(source="ended_at", allow_null=True)
    resumedBy = serializers.CharField(source="ended_by", allow_null=True)
    resumeReason = serializers.CharField(source="end_reason", allow_null=True)


class PipelinePauseView(HoldView):
    executionsByStatus = serializers.DictField(
        child=serializers.IntegerField(),
        help_text="How many unfinished executions the pause covers now, by status. "
        f"{MOST_COUNTED + 1} means more than {MOST_COUNTED}.",
    )


@listing("pauses", Hold, HoldView, ordering=("-started_at", "-id"))
def holds(view: TenantView) -> Any:
    """What is paused now: executions, releases and pipelines, the newest pause first."""
    return open_holds(view.tenant)


@operation("pauses", "pauseExecution", {201: HoldView, 200: HoldView}, body=PauseRequest)
@declares(Act.EXECUTION_PAUSE, Scope.OPERATE)
@refuses(ExecutionUnknown, ReasonRequired, PauseRefused)
def pause_execution(view: TenantView, execution_id: uuid.UUID, reason: str) -> Any:
    """Pause an execution that has not ended. What runs finishes, and nothing else starts until the resume.

    200: it was paused before, and that pause stays as it is.
    """
    return _paused(pause(execution(view.tenant, execution_id), actor=view.actor, reason=reason))


@operation("pauses", "resumeExecution", HoldView, body=EndOfPauseRequest)
@declares(Act.EXECUTION_RESUME, Scope.OPERATE)
@refuses(ExecutionUnknown, NotPaused)
def resume_execution(view: TenantView, execution_id: uuid.UUID, reason: str) -> Any:
    """Resume an execution. Its retries, timers and deadlines move by the time for which it was paused.

    It continues unless its release or its pipeline is paused too. The body is optional.
    """
    return resume(execution(view.tenant, execution_id), actor=view.actor, reason=reason)


@operation("pauses", "pausePipeline", {201: PipelinePauseView, 200: PipelinePauseView}, body=PipelinePauseRequest)
@declares(Act.PIPELINE_PAUSE, Scope.ACTIVATE)
@refuses(PipelineUnknown, ReleaseUnknown, ReasonRequired)
def pause_pipeline(view: TenantView, pipeline_id: str, release_version: str | None, **body: Any) -> Any:
    """Pause a pipeline, or one release of it. What runs finishes, and nothing else starts until the resume.

    The response counts the executions that the pause covers. 200: it was paused before, and that pause stays as it
    is, with its own `refusesSubmissions`.
    """
    target = _named(view.tenant, pipeline_id, release_version)
    made = pause(target, actor=view.actor, **body)
    return _paused(made, executionsByStatus=made.covered)


@operation("pauses", "resumePipeline", HoldView, body=EndOfPipelinePauseRequest)
@declares(Act.PIPELINE_RESUME, Scope.ACTIVATE)
@refuses(PipelineUnknown, ReleaseUnknown, NotPaused)
def resume_pipeline(view: TenantView, pipeline_id: str, release_version: str | None, reason: str) -> Any:
    """Resume a pipeline, or one release of it. Retries, timers and deadlines move by the time of the pause.

    Executions that are paused themselves stay paused. The body is optional.
    """
    return resume(_named(view.tenant, pipeline_id, release_version), actor=view.actor, reason=reason)


def _named(tenant: Tenant, pipeline_id: str, release_version: str | None) -> Pipeline | Release:
    pipeline = queries.pipeline(tenant, pipeline_id)
    return pipeline if release_version is None else queries.release(pipeline, release_version)


def _paused(made: Pause, **more: Any) -> Response:
    code = status.HTTP_201_CREATED if made.created else status.HTTP_200_OK
    return Response({**HoldView(made.hold).data, **more}, status=code)


urlpatterns = [
    path("holds", holds, name="holds"),
    path("executions/<uuid:execution_id>/pause", pause_execution, name="execution-pause"),
    path("executions/<uuid:execution_id>/resume", resume_execution, name="execution-resume"),
    path("pipelines/<str:pipeline_id>/pause", pause_pipeline, name="pipeline-pause"),
    path("pipelines/<str:pipeline_id>/resume", resume_pipeline, name="pipeline-resume"),
]
