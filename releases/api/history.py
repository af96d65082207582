"""REST: what was active at a time, and the signed activation history."""

from typing import Any

from django.http import HttpResponse
from django.urls import path
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers

from foundation.api.fields import Moment, StrictSerializer
from foundation.errors import InvalidRequest
from releases import history, queries
from releases.errors import NoneActiveThen, PipelineUnknown, ProvenanceKeyMissing, TimeInFuture
from releases.models import Activation, Kind, Pipeline, Vote
from releases.models import ActivationRequest as Requested
from tenancy.api.operations import TenantView, operation, refuses
from wire.documents.execution_statement import ENVELOPE_MEDIA_TYPE


class VoteView(serializers.Serializer[Vote]):
    round = serializers.IntegerField()
    actor = serializers.CharField()
    decision = serializers.ChoiceField(choices=Vote.Decision.choices)
    comment = serializers.CharField()
    votedAt = serializers.DateTimeField(source="voted_at")


class CarriedOutView(serializers.Serializer[Requested]):
    requestId = serializers.UUIDField(source="id")
    requestedAt = serializers.DateTimeField(source="created_at")
    activateAt = serializers.DateTimeField(source="activate_at", allow_null=True)
    votes = VoteView(source="counted_votes", many=True, help_text="The votes that approved it.")


class ActivationView(serializers.Serializer[Activation]):
    sequence = serializers.IntegerField()
    releaseVersion = serializers.CharField(source="release.release_version")
    contractVersion = serializers.CharField(source="release.contract_version")
    previousReleaseVersion = serializers.CharField(source="previous.release_version", default=None, allow_null=True)
    kind = serializers.ChoiceField(
        choices=Kind.choices,
        help_text="`gradual` and `withdrawal` keep the active release. `promotion` makes a candidate active.",
    )
    candidateReleaseVersion = serializers.CharField(
        source="candidate.release_version",
        default=None,
        allow_null=True,
        help_text="The release that gets the `share` of new executions. Null unless `kind` is `gradual`.",
    )
    share = serializers.FloatField(allow_null=True, help_text="In percent.")
    gradualActivationId = serializers.UUIDField(source="gradual_id", allow_null=True)
    rollback = serializers.BooleanField(source="is_rollback", help_text="True if `kind` is `rollback`.")
    actor = serializers.CharField()
    reason = serializers.CharField()
    activatedAt = serializers.DateTimeField(source="activated_at")
    override = serializers.BooleanField(help_text="True if it did without the approvals that the policy required.")
    request = CarriedOutView(allow_null=True, help_text="The request that it carried out. Null if there was none.")


class SignatureView(serializers.Serializer[Any]):
    keyid = serializers.CharField(help_text="The id of the coordinator's key.")
    sig = serializers.CharField(help_text="The signature, in base64.")


class EnvelopeView(serializers.Serializer[Any]):
    payload = serializers.CharField(help_text="The in-toto statement, in base64.")
    payloadType = serializers.CharField()
    signatures = SignatureView(many=True)


AT = OpenApiParameter(
    "at", {"type": "string", "format": "date-time"}, description="An RFC 3339 time, not in the future. By default, now."
)


class AtRequest(StrictSerializer):
    at = Moment(required=False, default=None)


class ActiveThenView(serializers.Serializer[history.ActiveThen]):
    at = serializers.DateTimeField()
    activation = ActivationView()
    candidateReleaseVersion = serializers.CharField(
        source="routing.candidate.release_version",
        default=None,
        allow_null=True,
        help_text="The candidate that got a share of the submissions at this time. Null if none did.",
    )
    candidateShare = serializers.FloatField(source="routing.share", allow_null=True, help_text="In percent.")
    replacedAt = serializers.DateTimeField(
        source="replaced_at",
        allow_null=True,
        help_text="When the next activation, rollback or promotion followed. Null if none did.",
    )
    revokedAt = serializers.DateTimeField(
        source="revoked_at",
        allow_null=True,
        help_text="When the release was revoked, if that was not later than `at`: the pipeline refused submissions.",
    )


@operation("activations", "activeAt", ActiveThenView, method="GET")
@extend_schema(parameters=[AT])
@refuses(InvalidRequest, PipelineUnknown, NoneActiveThen, TimeInFuture)
def active_then(view: TenantView, pipeline_id: str) -> Any:
    """The release that was active at a time, who activated it, and why."""
    at = AtRequest.validated(view.request.query_params.dict())["at"]
    return history.active_at(queries.pipeline(view.tenant, pipeline_id), at)


@operation("activations", "exportHistory", {(200, ENVELOPE_MEDIA_TYPE): EnvelopeView}, method="GET")
@refuses(PipelineUnknown, NoneActiveThen, ProvenanceKeyMissing)
def export_history(view: TenantView, pipeline_id: str) -> Any:
    """The activations and revocations of a pipeline: an in-toto statement in a DSSE envelope.

    The document has the same bytes until the pipeline gets another activation or revocation.
    """
    return export(queries.pipeline(view.tenant, pipeline_id))


def export(pipeline: Pipeline) -> HttpResponse:
    """Return the signed history of a pipeline as a file."""
    headers = {"Content-Disposition": f'attachment; filename="{history.file_name(pipeline)}"'}
    return HttpResponse(history.signed(pipeline), content_type=ENVELOPE_MEDIA_TYPE, headers=headers)


urlpatterns = [
    path("pipelines/<str:pipeline_id>/active", active_then, name="active-at"),
    path("pipelines/<str:pipeline_id>/history/export", export_history, name="history-export"),
]
