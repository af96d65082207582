"""The page that guides through the recovery from a bad release, its slow parts, and the request for a draft."""

import json
from collections.abc import Collection
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import content_disposition_header

from executions.console.filters import STATE_VARIANTS
from executions.inspection.counts import MOST_READ
from executions.search import searched
from foundation import exports
from foundation.admin.columns import on_one_line
from foundation.errors import CoordinatorError
from foundation.sentences import sentence
from governance.campaigns.draft_pages import VERBS, require, scopes_of
from governance.recovery import continuation, record, recovery
from governance.recovery.continuation import Position, Verdict
from governance.recovery.recovery import Accepted, Kind, Part
from releases.models import IDENTITY_LENGTH, Release
from tenancy.access import actor
from tenancy.audit.acts import Act
from tenancy.console.base import POST, READ, ReadOnlyAdmin, serves
from tenancy.console.template_tags import denial_of
from tenancy.models import AuditEntry
from tenancy.roles import Scope
from wire.documents.execution_statement import named

TITLES = {
    Part.RUNNING: ("Running", "Due, running, or waiting for a retry."),
    Part.WAITING: ("Waiting for answers", "They continue on this release once they are answered."),
    Part.FAILED: ("Failed", "A resubmission runs on another release, a re-drive on this one."),
    Part.SUCCEEDED: ("Succeeded", "Check their results. Each one can be resubmitted on its page."),
    Part.CANCELLED: ("Cancelled", "Each one can be resubmitted on its page."),
}
CONTINUING = {
    Verdict.CHECKPOINT: ("can continue from the checkpoint", "success", "Resubmit from the checkpoint"),
    Verdict.INPUT: ("can start again with the input only", "warning", "Resubmit with the input"),
    Verdict.NEITHER: ("cannot run on this release", "danger", ""),
}


class DraftForm(forms.Form):
    """What a button of the page sends."""

    part = forms.TypedChoiceField(choices=[(choice.value, choice.value) for choice in Part], coerce=Part)
    kind = forms.TypedChoiceField(choices=Kind.choices, coerce=Kind)
    target = forms.CharField(required=False, strip=False, max_length=IDENTITY_LENGTH)
    verdict = forms.TypedChoiceField(
        choices=[(verdict.value, verdict.value) for verdict in Verdict],
        coerce=Verdict,
        required=False,
        empty_value=Verdict.CHECKPOINT,
    )
    after = forms.CharField(required=False, max_length=continuation.LONGEST_POSITION)
    every = forms.BooleanField(required=False)

    def clean_after(self) -> Position | None:
        return _position(self.cleaned_data["after"])


def _position(text: str) -> Position | None:
    """Return the position of a check, None for "". Raises `ValidationError`."""
    position = Position.parse(text)
    if text and position is None:
        raise forms.ValidationError("Unknown position.")
    return position


@serves("<int:object_id>/recovery/", methods=READ)
def show(pages: ReadOnlyAdmin, request: HttpRequest, release: Release) -> HttpResponse:
    """Show what stands and what can be done, in the order in which a person does it."""
    shown = recovery.recovery(release)
    wanted = request.GET.get("target", "")
    target = _target(release, wanted) if wanted else shown.target
    return pages.page(
        request,
        "releases/recovery.html",
        title=f"Guided recovery {release}",
        original=release,
        release=release,
        recovery=shown,
        target=target,
        target_is_named=target is not None and target not in {each.release for each in shown.targets},
        after=request.GET.get("after", ""),
        verbs=[(campaign, VERBS[Kind(campaign.kind)].lower()) for campaign in shown.open_campaigns],
        parts=[_part(pages, request, release, accepted) for accepted in shown.accepted],
        most=MOST_READ,
        may_read=pages.has_scope(request, Scope.PAYLOADS, release),
        may_roll_back=pages.has_scope(request, Scope.ROLL_BACK, release),
        may_activate=pages.has_scope(request, Scope.ACTIVATE, release),
        rollback_url=reverse("admin:releases_pipeline_rollback", args=[release.pipeline_id]),
    )


def _part(pages: ReadOnlyAdmin, request: HttpRequest, release: Release, accepted: Accepted) -> dict[str, Any]:
    title, text = TITLES[accepted.part]
    # Each of those to resubmit has a verdict, with which the proof below offers it.
    kinds = [kind for kind in accepted.kinds if kind != Kind.RESUBMIT]
    return {
        "accepted": accepted,
        "title": title,
        "text": text,
        "states": [
            (count, STATE_VARIANTS[count.status], _executions(release, searched(count.status)))
            for count in accepted.counts
        ],
        "acts": [(kind, f"{VERBS[kind]} all", _why_not(pages, request, release, kind)) for kind in kinds],
    }


def _executions(release: Release, status: str) -> str:
    names = {
        "status": status,
        "pipeline": release.pipeline.pipeline_id,
        "release": release.release_version,
        "tenant": release.pipeline.tenant.slug,
    }
    return f"{reverse('admin:executions_execution_changelist')}?{urlencode(names)}"


def _why_not(pages: ReadOnlyAdmin, request: HttpRequest, release: Release, kind: Kind) -> str:
    lacking = [scope for scope in scopes_of(kind) if not pages.has_scope(request, scope, release)]
    return denial_of(lacking[0]) if lacking else ""


@serves("<int:object_id>/recovery/proof/", None, Scope.PAYLOADS, methods=READ, polled=True)
def proof(pages: ReadOnlyAdmin, request: HttpRequest, release: Release) -> HttpResponse:
    """Return the part that says which failed executions can continue on the release that the page shows."""
    version, _, start = request.GET.get("shown", "").partition("/")
    target = _target(release, version) if version else next((each.release for each in recovery.targets(release)), None)
    if target is None:
        raise Http404
    try:
        after = _position(start)
    except forms.ValidationError:
        raise Http404 from None
    checked = continuation.continuation(release, target, after)
    furthest = Verdict.CHECKPOINT if checked.of(Verdict.CHECKPOINT).count else Verdict.INPUT
    return pages.part(
        request,
        "releases/recovery_proof.html",
        title=f"What can continue on {target.release_version}",
        original=release,
        release=release,
        target=target,
        found=checked,
        after=after,
        next_url=f"{reverse('admin:releases_release_recovery', args=[release.pk])}?"
        + urlencode({"target": target.release_version, "after": checked.next or ""}),
        rows=[(group, *CONTINUING[group.verdict]) for group in checked.groups if group.count],
        every=(furthest, CONTINUING[furthest][2].replace("Resubmit", "Resubmit all")),
        why_not=_why_not(pages, request, release, Kind.RESUBMIT),
    )


def _target(release: Release, version: str) -> Release:
    """Return the release with this version if it may take over. Raises `Http404`."""
    try:
        return recovery.target_of(release, version)
    except CoordinatorError:
        raise Http404 from None


@serves("<int:object_id>/recovery/record/", methods=READ, polled=True)
def what_was_done(pages: ReadOnlyAdmin, request: HttpRequest, release: Release) -> HttpResponse:
    """Return the part that says who did what and when, or the same as a file if the query has a `format`."""
    shown = record.record(release)
    form = request.GET.get("format", "")
    if form:
        if form not in exports.FORMATS:
            raise Http404
        name = f"recovery-{release.pipeline.pipeline_id}-{release.release_version}.{form}"
        lines = b"".join(exports.lines(list(record.COLUMNS), shown.rows(), form))
        headers = {"Content-Disposition": content_disposition_header(True, name) or ""}
        return HttpResponse(lines, content_type=exports.FORMATS[form], headers=headers)
    return pages.part(
        request,
        "releases/recovery_record.html",
        title="Record",
        original=release,
        release=release,
        record=shown,
        rows=[
            (
                entry,
                named(entry.actor, shown.person(entry)),
                _page_of(entry, shown.campaigns),
                on_one_line(json.loads(entry.details)),
                shown.results.get(entry.sequence),
            )
            for entry in shown.entries
        ],
    )


def _page_of(entry: AuditEntry, campaigns: Collection[str]) -> str:
    """Return the page of the execution or the campaign that the entry is about; "" for others, and removed drafts."""
    if entry.object in campaigns:
        return reverse("admin:executions_campaign_change", args=[entry.object])
    if entry.act in record.OF_EXECUTIONS:
        return reverse("admin:executions_execution_change", args=[entry.object])
    return ""


@serves("<int:object_id>/recovery/draft/", Act.CAMPAIGN_DRAFT, Scope.OPERATE, methods=POST)
def draft(pages: ReadOnlyAdmin, request: HttpRequest, release: Release) -> HttpResponse:
    """Freeze the executions of a part as the draft of a campaign, and show its preview."""
    form = DraftForm(request.POST)
    if not form.is_valid():
        messages.error(request, "Unknown part or act. Nothing changed.")
        return redirect("admin:releases_release_recovery", release.pk)
    sent = form.cleaned_data
    require(request, release.pipeline.tenant, sent["kind"], Act.CAMPAIGN_DRAFT)
    try:
        made = recovery.draft(
            release,
            sent["part"],
            sent["kind"],
            actor=actor(request.user),
            target=recovery.target_of(release, sent["target"]) if sent["target"] else None,
            verdict=sent["verdict"],
            after=sent["after"],
            every=sent["every"],
        )
    except CoordinatorError as error:
        messages.error(request, f"{sentence(error.detail)} Nothing changed.")
        return redirect("admin:releases_release_recovery", release.pk)
    messages.success(request, "This is a preview. Nothing is done until you start it.")
    return redirect("admin:executions_campaign_change", made.pk)
