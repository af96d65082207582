"""Requests to activate a release: the list, the page of one with its votes, and the forms that make and decide them."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from foundation import moments
from foundation.admin.columns import badge, moment
from foundation.errors import CoordinatorError
from foundation.sentences import sentence
from governance.activation.pages import REASON_LENGTH, TYPED, OperationForm, needs_typing, not_typed
from governance.reports.pages import preview
from governance.requests import requests
from governance.requests.review import review
from governance.smoke_tests import pages as smoke_pages
from releases import queries
from releases.models import IDENTITY_LENGTH, ActivationRequest, Release, Vote
from releases.registration.pages import artifacts_of
from releases.states import UNDECIDED, RequestStatus
from releases.trust import trust
from tenancy.access import actor
from tenancy.audit.acts import Act
from tenancy.audit.people import person_behind
from tenancy.console.base import POST, READ, ReadOnlyAdmin, attempt, attempt_with_reason, serves, wrong_fields
from tenancy.console.lists import KeyFilter, ScopedFilter, TenantFilter, text, time
from tenancy.roles import Scope
from wire.documents.execution_statement import named

VARIANTS = {
    RequestStatus.OPEN.value: "info",
    RequestStatus.APPROVED.value: "primary",
    RequestStatus.ACTIVATED.value: "success",
    RequestStatus.REFUSED.value: "danger",
    RequestStatus.WITHDRAWN.value: "default",
    RequestStatus.EXPIRED.value: "warning",
    RequestStatus.FAILED.value: "danger",
}
OF_ONE = ("pipeline__tenant", "release__contract", "requester")
"""What the page of one request reads with it."""
PAGE = "admin:releases_activationrequest_change"


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


class RequestForm(OperationForm):
    expected_release_version = forms.CharField(required=False, strip=False, max_length=IDENTITY_LENGTH)
    reason = forms.CharField(max_length=REASON_LENGTH)
    activate_at = MomentField(label="Time", required=False, max_length=40)
    typed_version = forms.CharField(required=False, max_length=IDENTITY_LENGTH)


class VoteForm(forms.Form):
    decision = forms.ChoiceField(choices=Vote.Decision.choices)
    round = forms.IntegerField(min_value=1, max_value=2**31 - 1)
    comment = forms.CharField(required=False, max_length=1000)


@serves("<int:object_id>/request/", Act.ACTIVATION_REQUEST_CREATE, Scope.ACTIVATE, methods=POST)
def ask(pages: ReadOnlyAdmin, request: HttpRequest, release: Release) -> HttpResponse:
    """Request the activation of the release. A repeated POST is the same request."""
    form = RequestForm(request.POST)
    if not form.is_valid():
        messages.error(request, f"{wrong_fields(form)} Nothing changed.")
        return redirect("admin:releases_release_activate", release.pk)
    typed = form.cleaned_data
    pipeline = queries.pipeline(release.pipeline.tenant, release.pipeline.pipeline_id)
    if wrong := not_typed(pipeline, release, typed.pop(TYPED)):
        messages.error(request, f"{wrong} Nothing changed.")
        return redirect("admin:releases_release_activate", release.pk)
    try:
        made = requests.ask(
            release,
            requester=request.user,  # type: ignore[arg-type]  # they are logged in
            actor=actor(request.user),
            **typed,
        )
    except CoordinatorError as error:
        messages.error(request, f"{error.code}: {sentence(error.detail)} Nothing changed.")
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


def _is_own(request: HttpRequest, row: ActivationRequest) -> bool:
    return row.requester_id == request.user.pk


def _state(request: ActivationRequest) -> str:
    """Return a text that changes with the status, the round and the votes of the request."""
    return f"{request.status}-{request.round}-{len(request.votes.all())}"


def _vote_of(request: HttpRequest, row: ActivationRequest) -> Vote | None:
    """Return the vote of the user in the current round, or None."""
    votes = (vote for vote in row.votes.all() if vote.round == row.round and vote.voter_id == request.user.pk)
    return next(votes, None)


class StatusFilter(ScopedFilter):
    title = parameter_name = "status"
    options = tuple((status.value, status.value) for status in RequestStatus)


class ReleaseFilter(KeyFilter):
    title = parameter_name = "release"


class PipelineFilter(KeyFilter):
    title = parameter_name = "pipeline"


@admin.register(ActivationRequest)
class RequestAdmin(ReadOnlyAdmin):
    tenant_path = "pipeline__tenant"
    list_display = ("requested", "tenant", "pipeline_name", "version", "state", "at", "actor", "reason")
    list_select_related = ("pipeline__tenant", "release")
    list_filter = (StatusFilter, ReleaseFilter, PipelineFilter, TenantFilter)
    ordering = ("-created_at", "-id")
    list_display_links = ("requested", "version")
    empty = "An activation that needs approvals, or a later time, is requested on the page that activates the release."
    list_per_page = 50
    sortable_by = ()

    requested = time("Requested", "created_at")
    tenant = text("Tenant", "pipeline.tenant.slug")
    pipeline_name = text("Pipeline", "pipeline.pipeline_id")
    version = text("Release", "release.release_version")
    at = time("Activates", "activate_at", empty="when approved")

    @badge("Status", VARIANTS)
    def state(self, row: ActivationRequest) -> str:
        return row.status

    def get_queryset(self, request: HttpRequest) -> QuerySet[ActivationRequest]:
        rows = super().get_queryset(request)
        is_one = request.resolver_match is not None and "object_id" in request.resolver_match.kwargs
        if not is_one:
            return rows
        return queries.whole_requests(rows).select_related(*OF_ONE).prefetch_related("votes__voter")

    def show(self, request: HttpRequest, row: ActivationRequest) -> HttpResponse:
        pipeline = queries.pipeline(row.pipeline.tenant, row.pipeline.pipeline_id)
        release = row.release
        attached = trust.attached(release)
        votes = self._may_vote_now(request, row)
        return self.page(
            request,
            "releases/activation_request.html",
            title=str(row),
            original=row,
            activation_request=row,
            variant=VARIANTS[row.status],
            active=pipeline.activation,
            may_activate=self.has_scope(request, Scope.ACTIVATE, row),
            is_undecided=row.status in UNDECIDED,
            state=_state(row),
            may_vote_now=votes,
            part_name="Pre-flight and vote" if votes else "Pre-flight",
            is_breaking=row.status in UNDECIDED and needs_typing(pipeline, release),
            release=release,
            uploader=named(
                release.uploaded_by, person_behind(row.pipeline.tenant, release.uploaded_by, release.created_at)
            ),
            artifacts=artifacts_of(release),
            trust=trust.trust_of(release, signers=trust.signers_in(attached)),
            attached=attached,
            smoke_tests=smoke_pages.newest(release),
        )

    def _may_vote_now(self, request: HttpRequest, row: ActivationRequest) -> bool:
        is_asked = row.status == RequestStatus.OPEN and not _is_own(request, row) and _vote_of(request, row) is None
        return is_asked and self.has_scope(request, Scope.VOTE, row)

    @serves("<uuid:object_id>/review/", methods=READ, polled=True)
    def review(self, request: HttpRequest, row: ActivationRequest) -> HttpResponse:
        """Return what a vote decides on, with the form. The page is loaded again if it shows another state."""
        if request.headers.get("HX-Request") and request.GET.get("shown") != _state(row):
            return HttpResponse(status=204, headers={"HX-Refresh": "true"})
        if row.status not in UNDECIDED:
            return redirect(PAGE, row.pk)
        reviewed = review(row)
        return self.part(
            request,
            "releases/activation_review.html",
            title=str(row),
            original=row,
            activation_request=row,
            release=row.release,
            review=reviewed,
            preview=preview(reviewed.preflight),
            stated=reviewed.would_fail and self._may_vote_now(request, row),
            is_open=row.status == RequestStatus.OPEN,
            is_own=_is_own(request, row),
            own_vote=_vote_of(request, row),
            may_vote=self.has_scope(request, Scope.VOTE, row),
        )

    @serves("<uuid:object_id>/vote/", Act.ACTIVATION_REQUEST_VOTE, Scope.VOTE, methods=POST)
    def vote(self, request: HttpRequest, row: ActivationRequest) -> HttpResponse:
        """Approve or refuse the request. A repeated POST is the same vote."""
        form = VoteForm(request.POST)
        if not form.is_valid():
            messages.error(request, "Choose a decision, with a comment of at most 1,000 characters. Nothing changed.")
            return redirect(PAGE, row.pk)

        def cast() -> str:
            made = requests.vote(
                row,
                voter=request.user,  # type: ignore[arg-type]  # they are logged in
                actor=actor(request.user),
                decision=Vote.Decision(form.cleaned_data["decision"]),
                round_number=form.cleaned_data["round"],
                comment=form.cleaned_data["comment"],
            )
            return f"The vote counts. {outcome(made)}"

        attempt(request, cast, "{code}: {detail} The vote does not count.")
        return redirect(PAGE, row.pk)

    @serves("<uuid:object_id>/withdraw/", Act.ACTIVATION_REQUEST_WITHDRAW, Scope.ACTIVATE, methods=POST)
    def withdraw(self, request: HttpRequest, row: ActivationRequest) -> HttpResponse:
        def end(reason: str) -> str:
            requests.withdraw(row, actor=actor(request.user), reason=reason)
            return "The request is withdrawn."

        attempt_with_reason(request, end, "{code}: {detail} Nothing changed.")
        return redirect(PAGE, row.pk)
