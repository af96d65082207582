"""Requests to activate a release: the list, the page of one with its votes, and the forms that make and decide them."""

import uuid
from collections.abc import Iterator
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern
from django.utils.safestring import SafeString

from foundation import moments
from foundation.admin.columns import badge, column, moment
from foundation.admin.times import timed
from foundation.errors import CoordinatorError
from releases import queries
from releases.activation.requests import requests, votes
from releases.admin import confirmations
from releases.models import IDENTITY_LENGTH, ActivationRequest, Release, Vote
from releases.states import UNDECIDED, RequestStatus
from tenancy.access import actor
from tenancy.admin.base import Person, ReadOnlyAdmin, ScopedFilter, TenantFilter
from tenancy.models import validate_identifier
from tenancy.roles import Scope

VARIANTS = {
    RequestStatus.OPEN.value: "info",
    RequestStatus.APPROVED.value: "primary",
    RequestStatus.ACTIVATED.value: "success",
    RequestStatus.REFUSED.value: "danger",
    RequestStatus.WITHDRAWN.value: "default",
    RequestStatus.EXPIRED.value: "warning",
    RequestStatus.FAILED.value: "danger",
}
PAGE = "admin:releases_activationrequest_change"
LONGEST_KEY = 19


class MomentField(forms.CharField):
    """A time (`foundation.moments`), or None if the text is empty."""

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        if not text:
            return None
        try:
            return moments.read_time(text)
        except (ValueError, OverflowError):
            raise forms.ValidationError(f"{moments.TIME_RULE}.") from None


class RequestForm(forms.Form):
    """The release that the page showed as active, the operation key of the page, the reason and the time."""

    expected_release_version = forms.CharField(required=False, strip=False, max_length=IDENTITY_LENGTH)
    operation_key = forms.CharField(max_length=200, validators=[validate_identifier])
    reason = forms.CharField(max_length=1000)
    activate_at = MomentField(label="Time", required=False, max_length=40)
    typed_version = forms.CharField(required=False, max_length=IDENTITY_LENGTH)


class VoteForm(forms.Form):
    decision = forms.ChoiceField(choices=Vote.Decision.choices)
    round = forms.IntegerField(min_value=1, max_value=2**31 - 1)
    comment = forms.CharField(required=False, max_length=1000)


def ask(pages: ReadOnlyAdmin, request: HttpRequest, release: Release) -> HttpResponse:
    """Request the activation of the release. A repeated POST is the same request."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if not pages.may(request, Scope.ACTIVATE, release):
        raise PermissionDenied
    form = RequestForm(request.POST)
    if not form.is_valid():
        errors = "; ".join(f"{form[name].label}: {error}" for name, found in form.errors.items() for error in found)
        messages.error(request, f"{errors} Nothing changed.")
        return redirect("admin:releases_release_activate", release.pk)
    pipeline = queries.pipeline(release.pipeline.tenant, release.pipeline.pipeline_id)
    if wrong := confirmations.missing(pipeline, release, form.cleaned_data[confirmations.FIELD]):
        messages.error(request, f"{wrong} Nothing changed.")
        return redirect("admin:releases_release_activate", release.pk)
    try:
        made = requests.ask(
            release,
            requester=request.user,  # type: ignore[arg-type]  # they are logged in
            actor=actor(request.user),
            reason=form.cleaned_data["reason"],
            activate_at=form.cleaned_data["activate_at"],
            expected_release_version=form.cleaned_data["expected_release_version"],
            operation_key=form.cleaned_data["operation_key"],
        )
    except CoordinatorError as error:
        messages.error(request, f"{error.code}: {error.detail} Nothing changed.")
        return redirect("admin:releases_release_activate", release.pk)
    messages.success(request, outcome(made))
    return redirect(PAGE, made.pk)


def outcome(made: ActivationRequest) -> str:
    status = RequestStatus(made.status)
    if status is RequestStatus.OPEN:
        needed = made.approvals_needed
        return f"The request waits for {needed} approval{'s' if needed > 1 else ''} by other people."
    if status is RequestStatus.APPROVED:
        when = f" at {moment(made.activate_at)}" if made.activate_at else ""
        gradually = " gradually" if made.plan else ""
        return f"The request is approved. Release {made.release.release_version} will be activated{gradually}{when}."
    return f"The request is {status}. {made.detail}".strip()


class StatusFilter(ScopedFilter):
    title = "status"
    parameter_name = "status"

    def choices_for(self, person: Person) -> Iterator[tuple[str, str]]:
        yield from ((status.value, status.value) for status in RequestStatus)

    def queryset(self, request: HttpRequest, queryset: QuerySet[ActivationRequest]) -> QuerySet[ActivationRequest]:
        return queryset.filter(status=self.value()) if self.value() else queryset


class KeyFilter(ScopedFilter):
    """Filters by the key of a release or a pipeline, for links from their pages."""

    def choices_for(self, person: Person) -> Iterator[tuple[str, str]]:
        yield from ()

    def has_output(self) -> bool:
        return True

    def queryset(self, request: HttpRequest, queryset: QuerySet[ActivationRequest]) -> QuerySet[ActivationRequest]:
        key = self.value() or ""
        if not (key.isascii() and key.isdigit() and len(key) < LONGEST_KEY):
            return queryset.none() if key else queryset
        return queryset.filter(**{f"{self.parameter_name}_id": int(key)})


class ReleaseFilter(KeyFilter):
    title = "release"
    parameter_name = "release"


class PipelineFilter(KeyFilter):
    title = "pipeline"
    parameter_name = "pipeline"


class RequestTenantFilter(TenantFilter):
    lookup = "pipeline__tenant__slug"


class RequestAdmin(ReadOnlyAdmin):
    tenant_path = "pipeline__tenant"
    list_display = ("requested", "tenant", "pipeline_name", "version", "state", "at", "actor", "reason")
    list_select_related = ("pipeline__tenant", "release")
    list_filter = (StatusFilter, ReleaseFilter, PipelineFilter, RequestTenantFilter)
    ordering = ("-created_at", "-id")
    list_display_links = ("requested", "version")
    empty = "An activation that needs approvals, or a later time, is requested on the page that activates the release."
    list_per_page = 50
    sortable_by = ()

    @column("Requested")
    def requested(self, row: ActivationRequest) -> SafeString | None:
        return timed(row.created_at)

    @column("Tenant")
    def tenant(self, row: ActivationRequest) -> str:
        return row.pipeline.tenant.slug

    @column("Pipeline")
    def pipeline_name(self, row: ActivationRequest) -> str:
        return row.pipeline.pipeline_id

    @column("Release")
    def version(self, row: ActivationRequest) -> str:
        return row.release.release_version

    @badge("Status", VARIANTS)
    def state(self, row: ActivationRequest) -> str:
        return row.status

    @column("Activates", empty="when approved")
    def at(self, row: ActivationRequest) -> SafeString | None:
        return timed(row.activate_at)

    def own_urls(self) -> list[URLPattern]:
        return [
            self.own("<uuid:object_id>/vote/", "vote", self.vote),
            self.own("<uuid:object_id>/withdraw/", "withdraw", self.withdraw),
        ]

    def show(self, request: HttpRequest, row: ActivationRequest) -> HttpResponse:
        found = queries.request(row.pipeline, row.pk)
        pipeline = queries.pipeline(row.pipeline.tenant, row.pipeline.pipeline_id)
        is_open = found.status == RequestStatus.OPEN
        return self.page(
            request,
            "releases/activation_request.html",
            title=str(found),
            original=found,
            activation_request=found,
            variant=VARIANTS[found.status],
            active=pipeline.activation,
            may_activate=self.may(request, Scope.ACTIVATE, found),
            is_undecided=found.status in UNDECIDED,
            is_open=is_open,
            is_own=is_open and found.requester_id == request.user.pk,
            is_breaking=found.status in UNDECIDED and confirmations.is_needed(pipeline, found.release),
        )

    def vote(self, request: HttpRequest, object_id: uuid.UUID) -> HttpResponse:
        """Approve or refuse the request. A repeated POST is the same vote."""
        row = self._decided(request, object_id)
        if isinstance(row, HttpResponse):
            return row
        form = VoteForm(request.POST)
        if not form.is_valid():
            messages.error(request, "Choose a decision, with a comment of at most 1,000 characters. Nothing changed.")
            return redirect(PAGE, row.pk)
        try:
            made = votes.vote(
                row,
                voter=request.user,  # type: ignore[arg-type]  # they are logged in
                actor=actor(request.user),
                decision=Vote.Decision(form.cleaned_data["decision"]),
                round_number=form.cleaned_data["round"],
                comment=form.cleaned_data["comment"],
            )
        except CoordinatorError as error:
            messages.error(request, f"{error.code}: {error.detail} The vote does not count.")
        else:
            messages.success(request, f"The vote counts. {outcome(made)}")
        return redirect(PAGE, row.pk)

    def withdraw(self, request: HttpRequest, object_id: uuid.UUID) -> HttpResponse:
        row = self._decided(request, object_id)
        if isinstance(row, HttpResponse):
            return row
        try:
            requests.withdraw(row, actor=actor(request.user), reason=request.POST.get("reason", "")[:1000])
        except CoordinatorError as error:
            messages.error(request, f"{error.code}: {error.detail} Nothing changed.")
        else:
            messages.success(request, "The request is withdrawn.")
        return redirect(PAGE, row.pk)

    def _decided(self, request: HttpRequest, object_id: uuid.UUID) -> ActivationRequest | HttpResponse:
        """Return the request that a form decides, or the response to another method than POST."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row: ActivationRequest = self.row_or_404(request, object_id)
        if not self.may(request, Scope.ACTIVATE, row):
            raise PermissionDenied
        return row
