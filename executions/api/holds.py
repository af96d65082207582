"""REST: pauses and resumes executions, releases and pipelines, and lists what is paused."""

import uuid
from typing import Any, ClassVar

from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from executions.errors import ExecutionUnknown, NotPaused, PauseRefused
from executions.holds import holds
from executions.holds.holds import open_holds
from executions.lifecycle.queries import execution
from executions.models import Hold
from foundation.api.fields import Flag, SegmentIdentifier, StrictSerializer, Text
from releases import queries
from releases.errors import PipelineUnknown, ReasonRequired, ReleaseUnknown
from releases.models import IDENTITY_LENGTH, Pipeline, Release
from tenancy.api.tenant_view import TENANT, TenantView
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
        help_text="The release that is meant. If omitted, it is the whole pipeline.",
    )


class PipelinePauseRequest(PauseRequest, ReleaseMember):
    refuseSubmissions = Flag(
        required=False,
        default=False,
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


@extend_schema(parameters=[TENANT], tags=["pauses"])
class Holds(TenantView, ListAPIView[Hold]):
    """What is paused now: executions, releases and pipelines, the newest pause first."""

    serializer_class = HoldView
    ordering = ("-started_at", "-id")
    queryset = Hold.objects.none()

    def get_queryset(self) -> Any:
        return open_holds(self.tenant)


@extend_schema(parameters=[TENANT], tags=["pauses"])
class PauseExecution(TenantView):
    refusals: ClassVar = {"POST": (ExecutionUnknown, ReasonRequired, PauseRefused)}

    @declares(Act.EXECUTION_PAUSE, Scope.OPERATE)
    @extend_schema(operation_id="pauseExecution", request=PauseRequest, responses={201: HoldView, 200: HoldView})
    def post(self, request: Request, tenant: str, execution_id: uuid.UUID) -> Response:
        """Pause an execution that has not ended. A transition that runs finishes; no other starts until the resume.

        200: it was paused before, and that pause stays as it is.
        """
        body = PauseRequest.validated(request.data)
        return _paused(holds.pause(execution(self.tenant, execution_id), actor=self.actor, reason=body["reason"]))


@extend_schema(parameters=[TENANT], tags=["pauses"])
class ResumeExecution(TenantView):
    refusals: ClassVar = {"POST": (ExecutionUnknown, NotPaused)}

    @declares(Act.EXECUTION_RESUME, Scope.OPERATE)
    @extend_schema(operation_id="resumeExecution", request=EndOfPauseRequest, responses=HoldView)
    def post(self, request: Request, tenant: str, execution_id: uuid.UUID) -> Response:
        """Resume an execution. Its retries, timers and deadlines move by the time for which it was paused.

        It continues unless its release or its pipeline is paused too. The body is optional.
        """
        body = EndOfPauseRequest.validated(request.data)
        hold = holds.resume(execution(self.tenant, execution_id), actor=self.actor, reason=body["reason"])
        return Response(HoldView(hold).data)


@extend_schema(parameters=[TENANT], tags=["pauses"])
class PausePipeline(TenantView):
    refusals: ClassVar = {"POST": (PipelineUnknown, ReleaseUnknown, ReasonRequired)}

    @declares(Act.PIPELINE_PAUSE, Scope.ACTIVATE)
    @extend_schema(operation_id="pausePipeline", request=PipelinePauseRequest, responses={201: HoldView, 200: HoldView})
    def post(self, request: Request, tenant: str, pipeline_id: str) -> Response:
        """Pause a pipeline, or one release of it. Transitions that run finish; no other starts until the resume.

        200: it was paused before, and that pause stays as it is, with its own `refusesSubmissions`.
        """
        body = PipelinePauseRequest.validated(request.data)
        return _paused(
            holds.pause(
                _named(self.tenant, pipeline_id, body["releaseVersion"]),
                actor=self.actor,
                reason=body["reason"],
                refuses_submissions=body["refuseSubmissions"],
            )
        )


@extend_schema(parameters=[TENANT], tags=["pauses"])
class ResumePipeline(TenantView):
    refusals: ClassVar = {"POST": (PipelineUnknown, ReleaseUnknown, NotPaused)}

    @declares(Act.PIPELINE_RESUME, Scope.ACTIVATE)
    @extend_schema(operation_id="resumePipeline", request=EndOfPipelinePauseRequest, responses=HoldView)
    def post(self, request: Request, tenant: str, pipeline_id: str) -> Response:
        """Resume a pipeline, or one release of it. Retries, timers and deadlines move by the time of the pause.

        Executions that are paused themselves stay paused. The body is optional.
        """
        body = EndOfPipelinePauseRequest.validated(request.data)
        target = _named(self.tenant, pipeline_id, body["releaseVersion"])
        return Response(HoldView(holds.resume(target, actor=self.actor, reason=body["reason"])).data)


def _named(tenant: Tenant, pipeline_id: str, release_version: str | None) -> Pipeline | Release:
    pipeline = queries.pipeline(tenant, pipeline_id)
    return pipeline if release_version is None else queries.release(pipeline, release_version)


def _paused(pause: holds.Pause) -> Response:
    return Response(HoldView(pause.hold).data, status=status.HTTP_201_CREATED if pause.created else status.HTTP_200_OK)


urlpatterns = [
    path("holds", Holds.as_view(), name="holds"),
    path("executions/<uuid:execution_id>/pause", PauseExecution.as_view(), name="execution-pause"),
    path("executions/<uuid:execution_id>/resume", ResumeExecution.as_view(), name="execution-resume"),
    path("pipelines/<str:pipeline_id>/pause", PausePipeline.as_view(), name="pipeline-pause"),
    path("pipelines/<str:pipeline_id>/resume", ResumePipeline.as_view(), name="pipeline-resume"),
]
