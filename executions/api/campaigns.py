"""REST: starts and controls the campaigns of a tenant."""

import uuid
from collections.abc import Sequence
from typing import Any, ClassVar

from django.urls import path
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from executions.api.executions import ErrorView, PinView
from executions.api.operators import LONGEST_REASON, START_HELP, STATES, NewestCreated
from executions.campaigns import campaigns, drafts
from executions.campaigns.campaigns import HIGHEST_RATE
from executions.campaigns.creating import Options
from executions.campaigns.filters import WIRE_NAMES, Filters, Preview, RevokedRelease, preview
from executions.campaigns.results import Results, results
from executions.campaigns.selection import MOST_CHOSEN, chosen, selected
from executions.errors import (
    CampaignEmpty,
    CampaignRefused,
    CampaignTargetInvalid,
    CampaignUnknown,
    FilterRequired,
    ReleaseRevokedConfirmation,
    TenantNotAllowed,
)
from executions.models import Campaign, CampaignEvent, CampaignItem, DeadLetter, Execution, StartFrom
from foundation.api.fields import Flag, SegmentIdentifier, StrictSerializer, Text, WholeNumber
from foundation.api.pagination import NewestFirst
from releases.models import IDENTITY_LENGTH
from tenancy.access import require_scope
from tenancy.api.tenant_view import TENANT, TenantView
from tenancy.roles import Scope


class FiltersRequest(StrictSerializer):
    schema_rules: ClassVar = {"minProperties": 1}

    pipelineId = SegmentIdentifier(max_length=IDENTITY_LENGTH, required=False)
    contractVersion = SegmentIdentifier(max_length=IDENTITY_LENGTH, required=False)
    releaseVersion = SegmentIdentifier(max_length=IDENTITY_LENGTH, required=False)
    errorCode = Text(max_length=100, required=False)
    reason = serializers.ChoiceField(choices=DeadLetter.Reason.choices, required=False)
    finishedFrom = serializers.DateTimeField(required=False)
    finishedTo = serializers.DateTimeField(
        required=False, help_text="Executions match if they finished before this time."
    )


class PreviewRequest(StrictSerializer):
    filters = FiltersRequest(
        help_text="An execution matches if it fulfils every member. At least one member is required."
    )
    allowFailed = Flag(required=False, default=False, help_text="Also include executions that are FAILED.")


class BoundsRequest(StrictSerializer):
    """Members of a campaign that runs executions again."""

    canary = WholeNumber(
        min_value=1,
        max_value=drafts.MOST_ITEMS,
        required=False,
        allow_null=True,
        help_text="This many executions run first. The others follow only if none of them fails again.",
    )
    stopAfterFailures = WholeNumber(
        min_value=1,
        max_value=drafts.MOST_ITEMS,
        required=False,
        allow_null=True,
        help_text="The campaign pauses itself when this many of its executions have failed again.",
    )


class CampaignRequest(BoundsRequest):
    schema_rules: ClassVar = {"oneOf": [{"required": ["filters"]}, {"required": ["executionIds"]}]}

    filters = FiltersRequest(
        required=False,
        help_text="An execution matches if it fulfils every member. At least one member is required. Campaigns that "
        "cancel or pause accept `pipelineId`, `contractVersion`, `releaseVersion` and `errorCode`.",
    )
    executionIds = serializers.ListField(
        child=serializers.UUIDField(),
        required=False,
        min_length=1,
        max_length=MOST_CHOSEN,
        help_text="The executions, instead of `filters`. Those that the kind does not fit are left out.",
    )
    allowFailed = Flag(required=False, default=False, help_text="Also include executions that are FAILED.")
    draft = Flag(
        required=False,
        default=False,
        help_text="Store the selection as a DRAFT, which does nothing until it is started. It contains at most "
        f"{drafts.MOST_ITEMS:,} executions, and is removed after a day.",
    )
    reason = Text(max_length=LONGEST_REASON)
    ratePerMinute = WholeNumber(min_value=1, max_value=HIGHEST_RATE)
    allowRevoked = Flag(
        required=False,
        default=False,
        help_text="Also re-drive executions of releases that are revoked now. The preview names them.",
    )
    kind = serializers.ChoiceField(
        choices=Campaign.Kind.choices,
        required=False,
        default=Campaign.Kind.REDRIVE,
        help_text="`redrive` runs each failed execution again on its release. `resubmit` creates a new one for each, "
        "and the token needs the scope `executions:submit` too. `cancel` and `pause` act on executions that have not "
        "ended.",
    )
    targetReleaseVersion = SegmentIdentifier(
        max_length=IDENTITY_LENGTH,
        required=False,
        allow_null=True,
        default=None,
        help_text="The release of the new executions, which need not be active. Without it, each gets the release that "
        "is active at its time. Only for `resubmit`.",
    )
    vars()["from"] = serializers.ChoiceField(
        choices=StartFrom.choices,
        required=False,
        default=StartFrom.INPUT.value,
        help_text=f"{START_HELP} Only for `resubmit`.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("filters" in attrs) == ("executionIds" in attrs):
            raise serializers.ValidationError(
                {"filters": serializers.ErrorDetail("give either filters or executionIds", code="one_selection")}
            )
        return attrs


class CampaignStartRequest(BoundsRequest):
    """Members that are missing keep the value of the draft."""

    reason = Text(max_length=LONGEST_REASON, required=False)
    ratePerMinute = WholeNumber(min_value=1, max_value=HIGHEST_RATE, required=False)
    allowRevoked = Flag(
        required=False, default=False, help_text="Also re-drive executions of releases that are revoked now."
    )
    targetReleaseVersion = SegmentIdentifier(max_length=IDENTITY_LENGTH, required=False, allow_null=True)
    vars()["from"] = serializers.ChoiceField(choices=StartFrom.choices, required=False, help_text=START_HELP)


class CampaignChangeRequest(StrictSerializer):
    reason = Text(max_length=LONGEST_REASON, required=False, allow_blank=True, default="")


class FoundView(serializers.Serializer[Execution]):
    executionId = serializers.UUIDField(source="id")
    pin = PinView(source="*")
    status = serializers.ChoiceField(choices=STATES)
    version = serializers.IntegerField()
    error = ErrorView(source="*")
    finishedAt = serializers.DateTimeField(source="finished_at")


class ErrorCodeCount(serializers.Serializer[dict[str, Any]]):
    errorCode = serializers.CharField(source="error_code")
    count = serializers.IntegerField()


class ReleaseCount(serializers.Serializer[dict[str, Any]]):
    pin = PinView(source="*")
    count = serializers.IntegerField()


class RevokedReleaseView(serializers.Serializer[RevokedRelease]):
    pipelineId = serializers.CharField(source="pipeline_id")
    contractVersion = serializers.CharField(source="contract_version")
    releaseVersion = serializers.CharField(source="release_version")
    revocationReason = serializers.CharField(source="reason")
    count = serializers.IntegerField()


class PreviewView(serializers.Serializer[Preview]):
    count = serializers.IntegerField()
    executions = FoundView(many=True, help_text="The executions that failed first.")
    byErrorCode = ErrorCodeCount(many=True, source="by_error_code", help_text="The largest groups.")
    byRelease = ReleaseCount(many=True, source="by_release", help_text="The largest groups.")
    revokedReleases = RevokedReleaseView(
        many=True, source="revoked", help_text="A campaign that runs these releases needs `allowRevoked`."
    )


class ProgressView(serializers.Serializer[campaigns.Progress]):
    total = serializers.IntegerField()
    pending = serializers.IntegerField()
    redriven = serializers.IntegerField()
    resubmitted = serializers.IntegerField()
    cancelled = serializers.IntegerField()
    paused = serializers.IntegerField()
    skipped = serializers.IntegerField()


class ResultsView(serializers.Serializer[Results]):
    running = serializers.IntegerField(help_text="Due, running, or waiting for a retry.")
    waiting = serializers.IntegerField(help_text="Waiting for an answer.")
    succeeded = serializers.IntegerField()
    failedAgain = serializers.IntegerField(source="failed_again")
    cancelled = serializers.IntegerField()
    removed = serializers.IntegerField(help_text="Removed after their retention period.")


class CampaignEventView(serializers.Serializer[CampaignEvent]):
    kind = serializers.CharField()
    actor = serializers.CharField()
    data = serializers.DictField()  # type: ignore[assignment]  # the member's name; `data` is also a property of DRF
    at = serializers.DateTimeField()


class CampaignSummary(serializers.Serializer[Campaign]):
    campaignId = serializers.UUIDField(source="id")
    status = serializers.ChoiceField(choices=Campaign.Status.choices)
    kind = serializers.ChoiceField(choices=Campaign.Kind.choices)
    targetReleaseVersion = serializers.CharField(
        source="target_release_version",
        help_text="Empty for the release that is active at the time of each item, and for re-drives.",
    )
    vars()["from"] = serializers.ChoiceField(choices=StartFrom.choices, source="start_from", help_text=START_HELP)
    filters = FiltersRequest()
    allowFailed = serializers.BooleanField(source="allow_failed")
    allowRevoked = serializers.BooleanField(
        source="allow_revoked", help_text="Whether it runs releases that were revoked before it started."
    )
    reason = serializers.CharField()
    ratePerMinute = serializers.IntegerField(source="rate_per_minute")
    canary = serializers.IntegerField(allow_null=True)
    canaryOver = serializers.BooleanField(
        source="canary_over", help_text="Whether the executions of the canary have ended without a failure."
    )
    stopAfterFailures = serializers.IntegerField(source="stop_after_failures", allow_null=True)
    cause = serializers.SerializerMethodField(help_text="Why the campaign has paused itself. Null if it has not.")
    cut = serializers.BooleanField(help_text="Whether more executions were selected than a draft contains.")
    progress = serializers.SerializerMethodField()
    results = serializers.SerializerMethodField(
        help_text="What became of the executions that were re-driven or resubmitted."
    )
    createdBy = serializers.CharField(source="created_by")
    createdAt = serializers.DateTimeField(source="created_at")
    finishedAt = serializers.DateTimeField(source="finished_at", allow_null=True)

    @extend_schema_field(ProgressView)
    def get_progress(self, campaign: Campaign) -> dict[str, Any]:
        progress: dict[uuid.UUID, campaigns.Progress] = self.context["progress"]
        return dict(ProgressView(progress[campaign.pk]).data)

    @extend_schema_field(serializers.ChoiceField(choices=Campaign.Cause.choices, allow_null=True))
    def get_cause(self, campaign: Campaign) -> str | None:
        return campaign.cause or None

    @extend_schema_field(ResultsView)
    def get_results(self, campaign: Campaign) -> dict[str, Any]:
        found: dict[uuid.UUID, Results] = self.context["results"]
        return dict(ResultsView(found[campaign.pk]).data)


class CampaignView(CampaignSummary):
    events = CampaignEventView(many=True, help_text="The history of the campaign, oldest event first.")


class CampaignItemView(serializers.Serializer[CampaignItem]):
    executionId = serializers.UUIDField(source="execution_id")
    expectedVersion = serializers.IntegerField(source="expected_version")
    outcome = serializers.ChoiceField(choices=CampaignItem.Result.choices)
    newExecutionId = serializers.UUIDField(
        source="new_execution_id", allow_null=True, help_text="The execution that resubmits it."
    )
    code = serializers.CharField(help_text="Why the item was skipped.")
    at = serializers.DateTimeField(allow_null=True)
    executionStatus = serializers.SerializerMethodField(
        help_text="The current status of the execution. Null if it was removed after its retention period."
    )

    @extend_schema_field(serializers.ChoiceField(choices=STATES, allow_null=True))
    def get_executionStatus(self, item: CampaignItem) -> str | None:  # noqa: N802 - the name of its field
        return item.execution.status if item.execution else None


class CampaignFilter(filters.FilterSet):
    kind = filters.ChoiceFilter(choices=Campaign.Kind.choices)
    status = filters.ChoiceFilter(choices=Campaign.Status.choices)
    pipelineId = filters.CharFilter(method="unchanged", label="Only with `releaseVersion`.")
    releaseVersion = filters.CharFilter(
        method="unchanged",
        label="Campaigns that have yet to re-drive an execution of this release of the pipeline `pipelineId`.",
    )

    def unchanged(self, queryset: Any, name: str, value: str) -> Any:
        """Return all campaigns: `filter_queryset` joins both names, so that one execution must fit both."""
        return queryset

    def filter_queryset(self, queryset: Any) -> Any:
        found = super().filter_queryset(queryset)
        pipeline_id, version = (self.form.cleaned_data[name] for name in ("pipelineId", "releaseVersion"))
        return campaigns.waiting_for(found, pipeline_id, version) if pipeline_id and version else found


class CampaignItemFilter(filters.FilterSet):
    outcome = filters.ChoiceFilter(choices=CampaignItem.Result.choices)


class InOrder(NewestFirst):
    ordering = "id"


@extend_schema(parameters=[TENANT], tags=["campaigns"])
class CampaignPreview(TenantView):
    scopes: ClassVar = {"POST": Scope.OPERATE}
    acts: ClassVar = {"POST": "campaign.preview"}
    refusals: ClassVar = {"POST": (FilterRequired,)}

    @extend_schema(operation_id="previewCampaign", request=PreviewRequest, responses=PreviewView)
    def post(self, request: Request, tenant: str) -> Response:
        """Return what a campaign with these filters would contain if it started now, without starting it."""
        body = PreviewRequest.validated(request.data)
        return Response(
            PreviewView(preview(self.tenant, _filters(body["filters"]), allow_failed=body["allowFailed"])).data
        )


@extend_schema(parameters=[TENANT], tags=["campaigns"])
class Campaigns(TenantView, ListAPIView[Campaign]):
    """The tenant's campaigns, newest first."""

    scopes: ClassVar = {"POST": Scope.OPERATE}
    acts: ClassVar = {"POST": "campaign.start"}
    refusals: ClassVar = {
        "POST": (
            *(TenantNotAllowed, CampaignTargetInvalid, FilterRequired, CampaignEmpty),
            ReleaseRevokedConfirmation,
        )
    }
    serializer_class = CampaignSummary
    filterset_class = CampaignFilter
    pagination_class = NewestCreated
    queryset = Campaign.objects.none()

    def get_queryset(self) -> Any:
        return campaigns.campaigns(self.tenant)

    def paginate_queryset(self, queryset: Any) -> Any:
        page: Any = super().paginate_queryset(queryset)
        self._counts = _counts(page)
        return page

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), **getattr(self, "_counts", {})}

    @extend_schema(operation_id="startCampaign", request=CampaignRequest, responses={201: CampaignView})
    def post(self, request: Request, tenant: str) -> Response:
        """Re-drive, resubmit, cancel or pause all executions that match the filters now, at a rate.

        An execution is skipped if its version has changed by the time it is admitted. One that is resubmitted is also
        skipped if this failure was resubmitted before, or if its input or its checkpoint does not fit the target
        release.
        """
        body = CampaignRequest.validated(request.data)
        kind = Campaign.Kind(body["kind"])
        if kind == Campaign.Kind.RESUBMIT:
            require_scope(self.token, Scope.SUBMIT)
        filters, ids = _filters(body.get("filters", {})), body.get("executionIds")
        rows = chosen(self.tenant, ids) if ids else None
        more: dict[str, Any] = {"actor": self.actor, "allow_failed": body["allowFailed"]}
        if body["draft"]:
            if rows is None:
                rows = selected(self.tenant, kind, filters, allow_failed=body["allowFailed"])
            options = Options(**_options(body))
            campaign = drafts.freeze(self.tenant, kind, rows, filters=filters.to_json(), options=options, **more)
        else:
            campaign = campaigns.start(self.tenant, filters, kind=kind, chosen=rows, **more, **_options(body))
        return Response(_campaign(campaign), status=status.HTTP_201_CREATED)


@extend_schema(parameters=[TENANT], tags=["campaigns"])
class OneCampaign(TenantView):
    refusals: ClassVar = {"GET": (CampaignUnknown,)}

    @extend_schema(operation_id="campaign", responses=CampaignView)
    def get(self, request: Request, tenant: str, campaign_id: uuid.UUID) -> Response:
        """One campaign with its progress and its history."""
        return Response(_campaign(campaigns.campaign(self.tenant, campaign_id)))


@extend_schema(parameters=[TENANT], tags=["campaigns"])
class CampaignStart(TenantView):
    scopes: ClassVar = {"POST": Scope.OPERATE}
    acts: ClassVar = {"POST": "campaign.start"}
    refusals: ClassVar = {
        "POST": (
            *(TenantNotAllowed, CampaignUnknown, CampaignRefused, CampaignTargetInvalid),
            ReleaseRevokedConfirmation,
        )
    }

    @extend_schema(operation_id="startDraft", request=CampaignStartRequest, responses=CampaignView)
    def post(self, request: Request, tenant: str, campaign_id: uuid.UUID) -> Response:
        """Start a draft: act on exactly the executions that it contains. The body is optional.

        An execution that has changed since it was selected is skipped.
        """
        body = CampaignStartRequest.validated(request.data)
        draft = campaigns.campaign(self.tenant, campaign_id)
        if draft.kind == Campaign.Kind.RESUBMIT:
            require_scope(self.token, Scope.SUBMIT)
        options = Options(**_options({**_members(draft), **body}))
        return Response(_campaign(drafts.start(self.tenant, campaign_id, options, actor=self.actor)))


@extend_schema(parameters=[TENANT], tags=["campaigns"])
class CampaignDiscard(TenantView):
    scopes: ClassVar = {"POST": Scope.OPERATE}
    acts: ClassVar = {"POST": "campaign.discard"}
    refusals: ClassVar = {"POST": (CampaignUnknown, CampaignRefused)}

    @extend_schema(operation_id="discardDraft", request=None, responses={204: None})
    def post(self, request: Request, tenant: str, campaign_id: uuid.UUID) -> Response:
        """Remove a draft. Nothing was done to its executions."""
        drafts.discard(self.tenant, campaign_id, actor=self.actor)
        return Response(status=status.HTTP_204_NO_CONTENT)


@extend_schema(parameters=[TENANT], tags=["campaigns"])
class CampaignItems(TenantView, ListAPIView[CampaignItem]):
    """The items of a campaign in order, with the result of each."""

    refusals: ClassVar = {"GET": (CampaignUnknown,)}
    serializer_class = CampaignItemView
    filterset_class = CampaignItemFilter
    pagination_class = InOrder
    queryset = CampaignItem.objects.none()

    def get_queryset(self) -> Any:
        return campaigns.items(campaigns.campaign(self.tenant, self.kwargs["campaign_id"]))


@extend_schema(parameters=[TENANT], tags=["campaigns"])
class CampaignPause(TenantView):
    scopes: ClassVar = {"POST": Scope.OPERATE}
    acts: ClassVar = {"POST": "campaign.pause"}
    refusals: ClassVar = {"POST": (CampaignUnknown, CampaignRefused)}

    @extend_schema(operation_id="pauseCampaign", request=CampaignChangeRequest, responses=CampaignView)
    def post(self, request: Request, tenant: str, campaign_id: uuid.UUID) -> Response:
        """Admit no further items until the campaign is resumed. The body is optional."""
        campaign = campaigns.pause(self.tenant, campaign_id, actor=self.actor, reason=_reason(request))
        return Response(_campaign(campaign))


@extend_schema(parameters=[TENANT], tags=["campaigns"])
class CampaignResume(TenantView):
    scopes: ClassVar = {"POST": Scope.OPERATE}
    acts: ClassVar = {"POST": "campaign.resume"}
    refusals: ClassVar = {"POST": (CampaignUnknown, CampaignRefused)}

    @extend_schema(operation_id="resumeCampaign", request=CampaignChangeRequest, responses=CampaignView)
    def post(self, request: Request, tenant: str, campaign_id: uuid.UUID) -> Response:
        """Continue at the campaign's rate. The body is optional."""
        campaign = campaigns.resume(self.tenant, campaign_id, actor=self.actor, reason=_reason(request))
        return Response(_campaign(campaign))


@extend_schema(parameters=[TENANT], tags=["campaigns"])
class CampaignCancel(TenantView):
    scopes: ClassVar = {"POST": Scope.OPERATE}
    acts: ClassVar = {"POST": "campaign.cancel"}
    refusals: ClassVar = {"POST": (CampaignUnknown, CampaignRefused)}

    @extend_schema(operation_id="cancelCampaign", request=CampaignChangeRequest, responses=CampaignView)
    def post(self, request: Request, tenant: str, campaign_id: uuid.UUID) -> Response:
        """Skip all pending items. What was done to executions stays. The body is optional."""
        campaign = campaigns.cancel(self.tenant, campaign_id, actor=self.actor, reason=_reason(request))
        return Response(_campaign(campaign))


def _filters(members: dict[str, Any]) -> Filters:
    return Filters(**{name: members.get(wire) for name, wire in WIRE_NAMES.items()})


def _reason(request: Request) -> str:
    return str(CampaignChangeRequest.validated(request.data)["reason"])


def _options(body: dict[str, Any]) -> dict[str, Any]:
    """Return the members of `Options` that a request names."""
    return {
        "reason": body["reason"],
        "rate_per_minute": body["ratePerMinute"],
        "canary": body.get("canary"),
        "stop_after_failures": body.get("stopAfterFailures"),
        "target_release_version": body["targetReleaseVersion"],
        "start_from": StartFrom(body["from"]),
        "allow_revoked": body["allowRevoked"],
    }


def _members(draft: Campaign) -> dict[str, Any]:
    """Return the options of a draft with the member names of a request."""
    return {
        "reason": draft.reason,
        "ratePerMinute": draft.rate_per_minute,
        "canary": draft.canary,
        "stopAfterFailures": draft.stop_after_failures,
        "targetReleaseVersion": draft.target_release_version,
        "from": draft.start_from,
    }


def _counts(page: Sequence[Campaign]) -> dict[str, Any]:
    ids = [campaign.pk for campaign in page]
    return {"progress": campaigns.progress(ids), "results": results(ids)}


def _campaign(campaign: Campaign) -> dict[str, Any]:
    return dict(CampaignView(campaign, context=_counts([campaign])).data)


urlpatterns = [
    path("campaigns", Campaigns.as_view(), name="campaigns"),
    path("campaigns/preview", CampaignPreview.as_view(), name="campaign-preview"),
    path("campaigns/<uuid:campaign_id>", OneCampaign.as_view(), name="campaign"),
    path("campaigns/<uuid:campaign_id>/start", CampaignStart.as_view(), name="campaign-start"),
    path("campaigns/<uuid:campaign_id>/discard", CampaignDiscard.as_view(), name="campaign-discard"),
    path("campaigns/<uuid:campaign_id>/items", CampaignItems.as_view(), name="campaign-items"),
    path("campaigns/<uuid:campaign_id>/pause", CampaignPause.as_view(), name="campaign-pause"),
    path("campaigns/<uuid:campaign_id>/resume", CampaignResume.as_view(), name="campaign-resume"),
    path("campaigns/<uuid:campaign_id>/cancel", CampaignCancel.as_view(), name="campaign-cancel"),
]
