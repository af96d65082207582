"""REST: starts and controls the campaigns of a tenant."""

import uuid
from dataclasses import asdict
from typing import Any

from django.urls import path
from django_filters import rest_framework as filters
from rest_framework import status
from rest_framework.response import Response

from executions import errors
from executions.models import Campaign, CampaignItem
from governance.campaigns import campaigns, documents, drafts
from governance.campaigns.selection import chosen, preview, selected
from releases.errors import ReasonRequired
from tenancy.api.operations import TenantView, either, listing, operation, refuses
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
        matching = super().filter_queryset(queryset)
        pipeline_id, version = (self.form.cleaned_data[name] for name in ("pipelineId", "releaseVersion"))
        return campaigns.waiting_for(matching, pipeline_id, version) if pipeline_id and version else matching


class CampaignItemFilter(filters.FilterSet):
    outcome = filters.ChoiceFilter(choices=CampaignItem.Result.choices)


@operation("campaigns", "previewCampaign", documents.PreviewView, body=documents.PreviewRequest)
@declares(Act.CAMPAIGN_PREVIEW, Scope.OPERATE)
@refuses(errors.FilterRequired)
def preview_campaign(view: TenantView, filters: dict[str, Any], allow_failed: bool) -> Any:
    """Return what a campaign with these filters would contain if it started now, without starting it."""
    return preview(view.tenant, documents.filters_of(filters), allow_failed=allow_failed)


@listing(
    "campaigns",
    Campaign,
    documents.CampaignSummary,
    CampaignFilter,
    ordering=("-created_at", "-id"),
    context=documents.counts_of,
)
def all_campaigns(view: TenantView) -> Any:
    """The tenant's campaigns, newest first."""
    return campaigns.campaigns(view.tenant)


@operation("campaigns", "startCampaign", {201: documents.CampaignView}, body=documents.CampaignRequest)
@declares(Act.CAMPAIGN_START, Scope.OPERATE)
@refuses(
    errors.TenantNotAllowed,
    errors.CampaignTargetInvalid,
    errors.FilterRequired,
    errors.CampaignEmpty,
    errors.ReleaseRevokedConfirmation,
)
def start_campaign(view: TenantView, kind: str, draft: bool, allow_failed: bool, **body: Any) -> Any:
    """Re-drive, resubmit, cancel or pause all executions that match the filters now, at a rate.

    A campaign of more than 2,000 executions is DRAFTING until its items are written. It contains what matches now. An
    execution is skipped if its version has changed by the time it is admitted, or if another execution carries on its
    work. One that is resubmitted is also skipped if its input or its checkpoint does not fit the target release.
    """
    of = Campaign.Kind(kind)
    if of == Campaign.Kind.RESUBMIT:
        view.require(Scope.SUBMIT)
    filters, ids = documents.filters_of(body.get("filters", {})), body.get("execution_ids")
    rows = chosen(view.tenant, ids) if ids else None
    options = documents.options_of(body)
    more: dict[str, Any] = {"actor": view.actor, "allow_failed": allow_failed}
    if draft:
        if rows is None:
            rows = selected(view.tenant, of, filters, allow_failed=allow_failed)
        campaign = drafts.freeze(view.tenant, of, rows, filters=filters.to_json(), options=options, **more)
    else:
        campaign = campaigns.start(view.tenant, filters, kind=of, chosen=rows, **more, **asdict(options))
    return Response(documents.shown(campaign), status=status.HTTP_201_CREATED)


@operation("campaigns", "campaign", documents.CampaignView, method="GET")
@refuses(errors.CampaignUnknown)
def one_campaign(view: TenantView, campaign_id: uuid.UUID) -> Any:
    """One campaign with its progress and its history."""
    return Response(documents.shown(campaigns.campaign(view.tenant, campaign_id)))


@operation("campaigns", "startDraft", documents.CampaignView, body=documents.CampaignStartRequest)
@declares(Act.CAMPAIGN_START, Scope.OPERATE)
@refuses(
    errors.TenantNotAllowed,
    errors.CampaignUnknown,
    errors.CampaignRefused,
    errors.CampaignTargetInvalid,
    ReasonRequired,
    errors.ReleaseRevokedConfirmation,
)
def start_draft(view: TenantView, campaign_id: uuid.UUID, **body: Any) -> Any:
    """Start a draft: act on exactly the executions that it contains. The body is optional.

    An execution that has changed since it was selected is skipped.
    """
    draft = campaigns.campaign(view.tenant, campaign_id)
    if draft.kind == Campaign.Kind.RESUBMIT:
        view.require(Scope.SUBMIT)
    options = documents.options_of({**{name: getattr(draft, name) for name in documents.OPTIONS}, **body})
    return Response(documents.shown(drafts.start(view.tenant, campaign_id, options, actor=view.actor)))


@operation("campaigns", "discardDraft", documents.CampaignView, body=documents.CampaignChangeRequest)
@declares(Act.CAMPAIGN_DISCARD, Scope.OPERATE)
@refuses(errors.CampaignUnknown, errors.CampaignRefused)
def discard_draft(view: TenantView, campaign_id: uuid.UUID, reason: str) -> Any:
    """Remove a draft, or a campaign that is DRAFTING, and return it as it was. The body is optional.

    Nothing was done to its executions.
    """
    removed = documents.shown(campaigns.campaign(view.tenant, campaign_id))
    drafts.discard(view.tenant, campaign_id, actor=view.actor, reason=reason)
    return Response(removed)


@listing("campaigns", CampaignItem, documents.CampaignItemView, CampaignItemFilter, ordering="id")
@refuses(errors.CampaignUnknown)
def campaign_items(view: TenantView, campaign_id: uuid.UUID) -> Any:
    """The items of a campaign in order, with the result of each."""
    return campaigns.items(campaigns.campaign(view.tenant, campaign_id))


@operation("campaigns", "pauseCampaign", documents.CampaignView, body=documents.CampaignChangeRequest)
@declares(Act.CAMPAIGN_PAUSE, Scope.OPERATE)
@refuses(errors.CampaignUnknown, errors.CampaignRefused)
def pause(view: TenantView, campaign_id: uuid.UUID, reason: str) -> Any:
    """Admit no further items until the campaign is resumed. The body is optional."""
    return Response(documents.shown(campaigns.pause(view.tenant, campaign_id, actor=view.actor, reason=reason)))


@operation("campaigns", "resumeCampaign", documents.CampaignView, body=documents.CampaignChangeRequest)
@declares(Act.CAMPAIGN_RESUME, Scope.OPERATE)
@refuses(errors.CampaignUnknown, errors.CampaignRefused)
def resume(view: TenantView, campaign_id: uuid.UUID, reason: str) -> Any:
    """Continue at the campaign's rate. The body is optional."""
    return Response(documents.shown(campaigns.resume(view.tenant, campaign_id, actor=view.actor, reason=reason)))


@operation("campaigns", "cancelCampaign", documents.CampaignView, body=documents.CampaignChangeRequest)
@declares(Act.CAMPAIGN_CANCEL, Scope.OPERATE)
@refuses(errors.CampaignUnknown, errors.CampaignRefused)
def cancel(view: TenantView, campaign_id: uuid.UUID, reason: str) -> Any:
    """Skip all pending items. What was done to executions stays. The body is optional."""
    return Response(documents.shown(campaigns.cancel(view.tenant, campaign_id, actor=view.actor, reason=reason)))


urlpatterns = [
    path("campaigns", either(all_campaigns, start_campaign), name="campaigns"),
    path("campaigns/preview", preview_campaign, name="campaign-preview"),
    path("campaigns/<uuid:campaign_id>", one_campaign, name="campaign"),
    path("campaigns/<uuid:campaign_id>/start", start_draft, name="campaign-start"),
    path("campaigns/<uuid:campaign_id>/discard", discard_draft, name="campaign-discard"),
    path("campaigns/<uuid:campaign_id>/items", campaign_items, name="campaign-items"),
    path("campaigns/<uuid:campaign_id>/pause", pause, name="campaign-pause"),
    path("campaigns/<uuid:campaign_id>/resume", resume, name="campaign-resume"),
    path("campaigns/<uuid:campaign_id>/cancel", cancel, name="campaign-cancel"),
]
