"""REST: starts and controls the campaigns of a tenant."""

import uuid
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, ClassVar

from django.urls import path
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from executions import errors
from executions.models import Campaign, CampaignItem
from governance.campaigns import campaigns, documents, drafts
from governance.campaigns.selection import chosen, preview, selected
from releases.errors import ReasonRequired
from tenancy.access import require_scope
from tenancy.api.tenant_view import TENANT, TenantView
from tenancy.audit.acts import Act, declares
from tenancy.roles import Scope


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


@extend_schema(parameters=[TENANT], tags=["campaigns"])
class CampaignPreview(TenantView):
    refusals: ClassVar = {"POST": (errors.FilterRequired,)}

    @declares(Act.CAMPAIGN_PREVIEW, Scope.OPERATE)
    @extend_schema(operation_id="previewCampaign", request=documents.PreviewRequest, responses=documents.PreviewView)
    def post(self, request: Request, tenant: str) -> Response:
        """Return what a campaign with these filters would contain if it started now, without starting it."""
        body = documents.PreviewRequest.validated(request.data)
        found = preview(self.tenant, documents.filters_of(body["filters"]), allow_failed=body["allowFailed"])
        return Response(documents.PreviewView(found).data)


@extend_schema(parameters=[TENANT], tags=["campaigns"])
class Campaigns(TenantView, ListAPIView[Campaign]):
    """The tenant's campaigns, newest first."""

    refusals: ClassVar = {
        "POST": (
            errors.TenantNotAllowed,
            errors.CampaignTargetInvalid,
            errors.FilterRequired,
            errors.CampaignEmpty,
            errors.ReleaseRevokedConfirmation,
        )
    }
    serializer_class = documents.CampaignSummary
    filterset_class = CampaignFilter
    ordering = ("-created_at", "-id")
    queryset = Campaign.objects.none()

    def get_queryset(self) -> Any:
        return campaigns.campaigns(self.tenant)

    def paginate_queryset(self, queryset: Any) -> Any:
        page: Any = super().paginate_queryset(queryset)
        self._counts = documents.counts_of(page)
        return page

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), **getattr(self, "_counts", {})}

    @declares(Act.CAMPAIGN_START, Scope.OPERATE)
    @extend_schema(
        operation_id="startCampaign", request=documents.CampaignRequest, responses={201: documents.CampaignView}
    )
    def post(self, request: Request, tenant: str) -> Response:
        """Re-drive, resubmit, cancel or pause all executions that match the filters now, at a rate.

        An execution is skipped if its version has changed by the time it is admitted. One that is resubmitted is also
        skipped if this failure was resubmitted before, or if its input or its checkpoint does not fit the target
        release.
        """
        body = documents.CampaignRequest.validated(request.data)
        kind = Campaign.Kind(body["kind"])
        if kind == Campaign.Kind.RESUBMIT:
            require_scope(self.token, Scope.SUBMIT)
        filters, ids = documents.filters_of(body.get("filters", {})), body.get("executionIds")
        rows = chosen(self.tenant, ids) if ids else None
        options = documents.options_of(body)
        more: dict[str, Any] = {"actor": self.actor, "allow_failed": body["allowFailed"]}
        if body["draft"]:
            if rows is None:
                rows = selected(self.tenant, kind, filters, allow_failed=body["allowFailed"])
            campaign = drafts.freeze(self.tenant, kind, rows, filters=filters.to_json(), options=options, **more)
        else:
            campaign = campaigns.start(self.tenant, filters, kind=kind, chosen=rows, **more, **asdict(options))
        return Response(documents.shown(campaign), status=status.HTTP_201_CREATED)


@extend_schema(parameters=[TENANT], tags=["campaigns"])
class OneCampaign(TenantView):
    refusals: ClassVar = {"GET": (errors.CampaignUnknown,)}

    @extend_schema(operation_id="campaign", responses=documents.CampaignView)
    def get(self, request: Request, tenant: str, campaign_id: uuid.UUID) -> Response:
        """One campaign with its progress and its history."""
        return Response(documents.shown(campaigns.campaign(self.tenant, campaign_id)))


@extend_schema(parameters=[TENANT], tags=["campaigns"])
class CampaignStart(TenantView):
    refusals: ClassVar = {
        "POST": (
            errors.TenantNotAllowed,
            errors.CampaignUnknown,
            errors.CampaignRefused,
            errors.CampaignTargetInvalid,
            ReasonRequired,
            errors.ReleaseRevokedConfirmation,
        )
    }

    @declares(Act.CAMPAIGN_START, Scope.OPERATE)
    @extend_schema(operation_id="startDraft", request=documents.CampaignStartRequest, responses=documents.CampaignView)
    def post(self, request: Request, tenant: str, campaign_id: uuid.UUID) -> Response:
        """Start a draft: act on exactly the executions that it contains. The body is optional.

        An execution that has changed since it was selected is skipped.
        """
        body = documents.CampaignStartRequest.validated(request.data)
        draft = campaigns.campaign(self.tenant, campaign_id)
        if draft.kind == Campaign.Kind.RESUBMIT:
            require_scope(self.token, Scope.SUBMIT)
        options = documents.options_of({**{name: getattr(draft, name) for name in documents.OPTIONS}, **body})
        return Response(documents.shown(drafts.start(self.tenant, campaign_id, options, actor=self.actor)))


@extend_schema(parameters=[TENANT], tags=["campaigns"])
class CampaignDiscard(TenantView):
    refusals: ClassVar = {"POST": (errors.CampaignUnknown, errors.CampaignRefused)}

    @declares(Act.CAMPAIGN_DISCARD, Scope.OPERATE)
    @extend_schema(
        operation_id="discardDraft", request=documents.CampaignChangeRequest, responses=documents.CampaignView
    )
    def post(self, request: Request, tenant: str, campaign_id: uuid.UUID) -> Response:
        """Remove a draft, and return it as it was. Nothing was done to its executions. The body is optional."""
        reason = documents.CampaignChangeRequest.validated(request.data)["reason"]
        removed = documents.shown(campaigns.campaign(self.tenant, campaign_id))
        drafts.discard(self.tenant, campaign_id, actor=self.actor, reason=reason)
        return Response(removed)


@extend_schema(parameters=[TENANT], tags=["campaigns"])
class CampaignItems(TenantView, ListAPIView[CampaignItem]):
    """The items of a campaign in order, with the result of each."""

    refusals: ClassVar = {"GET": (errors.CampaignUnknown,)}
    serializer_class = documents.CampaignItemView
    filterset_class = CampaignItemFilter
    ordering = "id"
    queryset = CampaignItem.objects.none()

    def get_queryset(self) -> Any:
        return campaigns.items(campaigns.campaign(self.tenant, self.kwargs["campaign_id"]))


class _Control(TenantView):
    refusals: ClassVar = {"POST": (errors.CampaignUnknown, errors.CampaignRefused)}

    def controlled(self, control: Callable[..., Campaign], campaign_id: uuid.UUID) -> Response:
        reason = documents.CampaignChangeRequest.validated(self.request.data)["reason"]
        return Response(documents.shown(control(self.tenant, campaign_id, actor=self.actor, reason=reason)))


@extend_schema(parameters=[TENANT], tags=["campaigns"])
class CampaignPause(_Control):
    @declares(Act.CAMPAIGN_PAUSE, Scope.OPERATE)
    @extend_schema(
        operation_id="pauseCampaign", request=documents.CampaignChangeRequest, responses=documents.CampaignView
    )
    def post(self, request: Request, tenant: str, campaign_id: uuid.UUID) -> Response:
        """Admit no further items until the campaign is resumed. The body is optional."""
        return self.controlled(campaigns.pause, campaign_id)


@extend_schema(parameters=[TENANT], tags=["campaigns"])
class CampaignResume(_Control):
    @declares(Act.CAMPAIGN_RESUME, Scope.OPERATE)
    @extend_schema(
        operation_id="resumeCampaign", request=documents.CampaignChangeRequest, responses=documents.CampaignView
    )
    def post(self, request: Request, tenant: str, campaign_id: uuid.UUID) -> Response:
        """Continue at the campaign's rate. The body is optional."""
        return self.controlled(campaigns.resume, campaign_id)


@extend_schema(parameters=[TENANT], tags=["campaigns"])
class CampaignCancel(_Control):
    @declares(Act.CAMPAIGN_CANCEL, Scope.OPERATE)
    @extend_schema(
        operation_id="cancelCampaign", request=documents.CampaignChangeRequest, responses=documents.CampaignView
    )
    def post(self, request: Request, tenant: str, campaign_id: uuid.UUID) -> Response:
        """Skip all pending items. What was done to executions stays. The body is optional."""
        return self.controlled(campaigns.cancel, campaign_id)


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
