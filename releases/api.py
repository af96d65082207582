"""REST: the tenant's pipelines and their policies, and the member `paused` of all rows with a relation `holds`."""

from datetime import UTC, datetime
from typing import Any, TypeVar

from django.db.models import F, FilteredRelation, Model, Q, QuerySet
from django.http import HttpResponse
from django.urls import path
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers

from foundation import past_times
from foundation.api.fields import Flag, Moment, Number, StrictSerializer, Text, WholeNumber
from foundation.api.schema import NO_NUL
from foundation.errors import InvalidRequest
from releases import active_then, pointer, policy, queries
from releases.errors import NoneActiveThen, PipelineUnknown, PolicyInvalid, ProvenanceKeyMissing, TimeInFuture
from releases.models import Activation, Kind, Pipeline, Vote
from releases.models import ActivationRequest as Requested
from releases.models.pipeline import MEMBERS, Member
from tenancy.api.operations import TenantView, either, listing, operation, refuses
from tenancy.audit.acts import Act, declares
from tenancy.models import Tenant
from tenancy.roles import Scope
from wire.documents.execution_statement import ENVELOPE_MEDIA_TYPE

Row = TypeVar("Row", bound=Model)


class PausedView(serializers.Serializer[Any]):
    since = serializers.DateTimeField()
    by = serializers.CharField()
    reason = serializers.CharField()


def with_pauses(rows: QuerySet[Row]) -> QuerySet[Row]:
    """Return the rows with their pauses, so that `paused` needs no query for each. A row has at most one open hold."""
    joined = rows.annotate(open_hold=FilteredRelation("holds", condition=Q(holds__ended_at=None)))
    annotated: QuerySet[Row] = joined.annotate(
        paused_since=F("open_hold__started_at"),
        paused_by=F("open_hold__started_by"),
        paused_reason=F("open_hold__reason"),
    )
    return annotated


def pause_of(row: Any) -> dict[str, Any] | None:
    """Return the content of `paused`: the open hold of the row itself; None if it has none."""
    if getattr(row, "held", True) is False:
        return None  # only executions have this column
    if hasattr(row, "paused_since"):
        since, by, reason = row.paused_since, row.paused_by, row.paused_reason
    else:
        columns = row.holds.filter(ended_at=None).values_list("started_at", "started_by", "reason")
        since, by, reason = columns.first() or (None, None, None)
    return dict(PausedView({"since": since, "by": by, "reason": reason}).data) if since else None


class PausableView(serializers.Serializer[Row]):
    paused = serializers.SerializerMethodField(
        help_text="The pause of this object itself. Null if it is not paused, even if its pipeline is."
    )

    @extend_schema_field(PausedView(allow_null=True))
    def get_paused(self, row: Any) -> dict[str, Any] | None:
        return pause_of(row)


Field = serializers.Field[Any, Any, Any, Any]


def _shown(member: Member) -> Field:
    """Return the field of a response that shows a member of the policy."""
    options: dict[str, Any] = {"help_text": member.meaning, "allow_null": bool(member.unset)}
    if member.column != member.name:  # DRF rejects a source that is the name
        options["source"] = member.column
    if member.choices is not None:
        return serializers.ChoiceField(choices=member.choices.choices, **options)
    if member.longest is not None:
        return serializers.CharField(**options)
    if member.of_steps:
        return serializers.DictField(child=serializers.DictField(), **options)
    if member.limits is None:
        return serializers.BooleanField(**options)
    return (serializers.IntegerField if member.is_integer else serializers.FloatField)(**options)


def _requested(member: Member) -> Field:
    """Return the field of a request that changes a member of the policy."""
    options: dict[str, Any] = {"required": False, "help_text": member.meaning, "allow_null": bool(member.unset)}
    if member.choices is not None:
        return serializers.ChoiceField(choices=member.choices.choices, **options)
    if member.longest is not None:
        return Text(max_length=member.longest, **options)
    if member.of_steps:
        return serializers.JSONField(**options)
    if member.limits is None:
        return Flag(**options)
    return (WholeNumber if member.is_integer else Number)(limits=member.limits, **options)


class PipelineView(PausableView[Pipeline]):
    pipelineId = serializers.CharField(source="pipeline_id")
    application = serializers.CharField(
        help_text="The application that deploys the pipeline over the deployment API. Empty if none does."
    )
    activeReleaseVersion = serializers.CharField(
        source="activation.release.release_version", default=None, allow_null=True
    )
    activeContractVersion = serializers.CharField(
        source="activation.release.contract_version", default=None, allow_null=True
    )
    candidateReleaseVersion = serializers.CharField(
        source="activation.candidate.release_version",
        default=None,
        allow_null=True,
        help_text="The candidate of the gradual activation that is running. Null if none is.",
    )
    candidateShare = serializers.FloatField(
        source="activation.share",
        default=None,
        allow_null=True,
        help_text="The share of new executions that the candidate gets, in percent.",
    )
    createdAt = serializers.DateTimeField(source="created_at")

    def get_fields(self) -> dict[str, Field]:
        return {**super().get_fields(), **{member.name: _shown(member) for member in MEMBERS}}


class PolicyRequest(StrictSerializer):
    """Changes to a policy. Omitted members do not change. A number or a name that is null resets to the default."""

    def get_fields(self) -> dict[str, Field]:
        return {member.name: _requested(member) for member in MEMBERS}


@listing("pipelines", Pipeline, PipelineView)
def pipelines(view: TenantView) -> Any:
    """The tenant's pipelines, each with its active release."""
    return with_pauses(
        Pipeline.objects.filter(tenant=view.tenant).select_related("activation__release", "activation__candidate")
    )


@operation("pipelines", "pipeline", PipelineView, method="GET")
@refuses(PipelineUnknown)
def one_pipeline(view: TenantView, pipeline_id: str) -> Any:
    """One pipeline with its active release."""
    return queries.pipeline(view.tenant, pipeline_id)


@operation("pipelines", "changePolicy", PipelineView, method="PATCH", body=PolicyRequest)
@declares(Act.POLICY_CHANGE, Scope.ADMINISTER)
@refuses(PipelineUnknown, PolicyInvalid)
def change_policy(view: TenantView, pipeline_id: str, **changes: Any) -> Any:
    """Change the pipeline's policy. It applies from the next submission, activation, claim, answer and end on."""
    return policy.change(queries.pipeline(view.tenant, pipeline_id), changes, actor=view.actor)


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
    "at",
    {"type": "string", "minLength": 1, "maxLength": 40, "pattern": NO_NUL},
    description="A time that is not in the future: RFC 3339, or as people write it, in UTC, such as `yesterday 9` or "
    "`last Tuesday 14:00`. By default, now.",
)


class PastMoment(Moment):
    """A time that is not in the future, also as people write it, in UTC."""

    default_error_messages = {"not_moment": "{rule}"}

    def to_internal_value(self, value: Any) -> datetime:
        try:
            moment = past_times.read_past(value, datetime.now(UTC))
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError) as error:
            self.fail("not_moment", rule=past_times.rule_of(error))


class AtRequest(StrictSerializer):
    at = PastMoment(required=False, default=None)


def _at(view: TenantView) -> datetime | None:
    """Return the time that the query names. Raises `InvalidRequest`."""
    moment: datetime | None = AtRequest.validated(view.request.query_params.dict())["at"]
    return moment


class ActorView(serializers.Serializer[Any]):
    actor = serializers.CharField()
    person = serializers.CharField(
        allow_null=True,
        help_text="The user who stands behind the actor, such as the owner of a token. Null if unknown.",
    )


class PeopleView(serializers.Serializer[Any]):
    activatedBy = ActorView(source="*")
    requestedBy = ActorView(source="request", allow_null=True)
    approvedBy = ActorView(source="approvals", many=True)


class ActiveThenView(serializers.Serializer[active_then.ActiveThen]):
    at = serializers.DateTimeField()
    activation = ActivationView()
    people = PeopleView(
        source="evidence",
        help_text="Who made the release active. A promotion names the request of its gradual activation.",
    )
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
def active(view: TenantView, pipeline_id: str) -> Any:
    """The release that was active at a time, who activated it, and why."""
    return active_then.active_at(queries.pipeline(view.tenant, pipeline_id), _at(view))


class ActiveInPipelineView(ActiveThenView):
    pipelineId = serializers.CharField(source="pipeline.pipeline_id")


class AllActiveThenView(serializers.Serializer[active_then.AllActiveThen]):
    at = serializers.DateTimeField(help_text="The time that `at` means.")
    pipelines = ActiveInPipelineView(many=True, help_text="The pipelines with an active release: 1,000 at most.")
    omitted = serializers.IntegerField(help_text="How many more pipelines had one.")


@operation("activations", "allActiveAt", AllActiveThenView, method="GET")
@extend_schema(parameters=[AT])
@refuses(InvalidRequest, TimeInFuture)
def all_active(view: TenantView) -> Any:
    """The release that was active in each pipeline of the tenant at a time, who activated it, and why."""
    return active_then.all_active_at(view.tenant, _at(view))


@operation("activations", "exportActive", {(200, ENVELOPE_MEDIA_TYPE): EnvelopeView}, method="GET")
@extend_schema(parameters=[AT])
@refuses(InvalidRequest, TimeInFuture, NoneActiveThen, ProvenanceKeyMissing)
def export_active(view: TenantView) -> Any:
    """The releases that were active at a time: an in-toto statement in a DSSE envelope.

    The same time gives the same bytes.
    """
    return active_file(view.tenant, _at(view))


def active_file(tenant: Tenant, at: datetime | None) -> HttpResponse:
    """Return the signed statement about the releases that were active at a time as a file."""
    headers = {"Content-Disposition": f'attachment; filename="active-{tenant.slug}.dsse.json"'}
    return HttpResponse(active_then.signed(tenant, at), content_type=ENVELOPE_MEDIA_TYPE, headers=headers)


@operation("activations", "exportHistory", {(200, ENVELOPE_MEDIA_TYPE): EnvelopeView}, method="GET")
@refuses(PipelineUnknown, NoneActiveThen, ProvenanceKeyMissing)
def export_history(view: TenantView, pipeline_id: str) -> Any:
    """The activations and revocations of a pipeline: an in-toto statement in a DSSE envelope.

    The document has the same bytes until the pipeline gets another activation or revocation.
    """
    return export(queries.pipeline(view.tenant, pipeline_id))


def export(pipeline: Pipeline) -> HttpResponse:
    """Return the signed history of a pipeline as a file."""
    headers = {"Content-Disposition": f'attachment; filename="{pointer.history_file_name(pipeline)}"'}
    return HttpResponse(pointer.signed_history(pipeline), content_type=ENVELOPE_MEDIA_TYPE, headers=headers)


urlpatterns = [
    path("active", all_active, name="all-active-at"),
    path("active/export", export_active, name="active-export"),
    path("pipelines", pipelines, name="pipelines"),
    path("pipelines/<str:pipeline_id>", either(one_pipeline, change_policy), name="pipeline"),
    path("pipelines/<str:pipeline_id>/active", active, name="active-at"),
    path("pipelines/<str:pipeline_id>/history/export", export_history, name="history-export"),
]
