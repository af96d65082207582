"""The page of a pipeline: its active release, policy, releases and activations."""

from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern

from foundation.admin.columns import column, moment
from releases import queries
from releases.activation import policy
from releases.admin.pauses import open_holds
from releases.models import MissingArtifacts, Pipeline, SignaturePolicy, UnverifiedWorkers
from releases.trust import trust
from tenancy.access import actor
from tenancy.admin.base import ReadOnlyAdmin, TenantFilter
from tenancy.roles import Scope

NEWEST_RELEASES = 50
HISTORY_PAGE = 25


class PolicyForm(forms.Form):
    reason_required = forms.BooleanField(required=False)
    signature_policy = forms.ChoiceField(choices=SignaturePolicy, required=False)
    unverified_workers = forms.ChoiceField(choices=UnverifiedWorkers, required=False)
    missing_artifacts = forms.ChoiceField(choices=MissingArtifacts, required=False)


class PipelineAdmin(ReadOnlyAdmin):
    list_display = ("pipeline_id", "tenant", "active_release", "since", "release_count")
    list_select_related = ("tenant", "activation__release")
    list_filter = (TenantFilter,)
    search_fields = ("pipeline_id",)
    search_help_text = "Search by pipeline id"
    ordering = ("tenant__slug", "pipeline_id")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Pipeline]:
        rows: QuerySet[Pipeline] = super().get_queryset(request).annotate(release_count=Count("releases"))
        return rows

    @column("Active release", empty="none yet")
    def active_release(self, pipeline: Pipeline) -> str | None:
        return pipeline.activation.release.release_version if pipeline.activation else None

    @column("Active since", empty="-")
    def since(self, pipeline: Pipeline) -> str | None:
        return moment(pipeline.activation.activated_at) if pipeline.activation else None

    @column("Releases", ordering="release_count")
    def release_count(self, pipeline: Any) -> int:
        count: int = pipeline.release_count
        return count

    def own_urls(self) -> list[URLPattern]:
        return [self.own("<int:object_id>/policy/", "policy", self.policy)]

    def show(self, request: HttpRequest, row: Pipeline) -> HttpResponse:
        pipeline = queries.pipeline(row.tenant, row.pipeline_id)
        history = Paginator(queries.history(pipeline), HISTORY_PAGE).get_page(request.GET.get("page"))
        releases = list(pipeline.releases.order_by("-id")[: NEWEST_RELEASES + 1])
        return self.page(
            request,
            "releases/pipeline.html",
            title=pipeline.pipeline_id,
            original=pipeline,
            pipeline=pipeline,
            active=pipeline.activation,
            trust=_trust(pipeline),
            signature_policies=SignaturePolicy.choices,
            worker_policies=UnverifiedWorkers.choices,
            artifact_policies=MissingArtifacts.choices,
            history=history,
            releases=releases[:NEWEST_RELEASES],
            more_releases=len(releases) > NEWEST_RELEASES,
            may_activate=self.may(request, Scope.ACTIVATE, pipeline),
            holds=open_holds(pipeline),
            may_administer=self.may(request, Scope.ADMINISTER, pipeline),
        )

    def policy(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Change the policy of the pipeline. Requires the right to administer the tenant."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        pipeline = self.row_or_404(request, object_id)
        if not self.may(request, Scope.ADMINISTER, pipeline):
            raise PermissionDenied
        form = PolicyForm(request.POST)
        if form.is_valid():
            fields = form.cleaned_data
            changes = {"reasonRequired": fields["reason_required"]}
            if fields["signature_policy"]:
                changes["signaturePolicy"] = fields["signature_policy"]
            if fields["unverified_workers"]:
                changes["unverifiedWorkers"] = fields["unverified_workers"]
            if fields["missing_artifacts"]:
                changes["missingArtifacts"] = fields["missing_artifacts"]
            changed = policy.change(pipeline, changes, actor=actor(request.user))
            reason = "required" if changed.reason_required else "optional"
            signatures = SignaturePolicy(changed.signature_policy).label
            workers = UnverifiedWorkers(changed.unverified_workers).label
            messages.success(
                request,
                f"The policy of {pipeline} was saved. The reason for an activation is {reason}. {signatures}. "
                f"{workers}. {MissingArtifacts(changed.missing_artifacts).label}.",
            )
        else:
            messages.error(request, "Choose one of the values. Nothing changed.")
        return redirect("admin:releases_pipeline_change", pipeline.pk)


def _trust(pipeline: Pipeline) -> trust.Trust | None:
    """Return the trust in the active release. None if no release is active."""
    return trust.of(pipeline.activation.release) if pipeline.activation else None
