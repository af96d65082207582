"""The section "Safe to retire?" on the page of a release: each blocker with a link to exactly its rows."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from executions.search.conditions import HELD
from releases.activation.retirement import FAILURES, Blocker, Kind, blockers
from releases.admin.releases import section_sources
from releases.admin.sections import Section
from releases.models import Release

LABELS = {
    Kind.ACTIVE: "Active release of its pipeline",
    Kind.APPROVAL: "Requests to activate it that collect votes",
    Kind.SCHEDULE: "Approved requests to activate it",
    Kind.GRADUAL: "Running gradual activation of its pipeline",
    Kind.SKEW_GRACE: "Open to callers that name it: the grace of the policy has not ended",
    Kind.QUEUED: "Queued executions",
    Kind.RUNNING: "Running executions",
    Kind.RETRYING: "Executions that wait for a retry",
    Kind.WAITING: "Executions that wait for an answer",
    Kind.FAILED: "Failures that could be re-driven (FAILED)",
    Kind.DEAD_LETTERED: "Failures that could be re-driven (DLQ)",
    Kind.CAMPAIGN: "Unfinished campaigns that would re-drive its executions",
}
REQUESTS = {Kind.APPROVAL: "OPEN", Kind.SCHEDULE: "APPROVED"}
STATUSES = {
    Kind.QUEUED: "QUEUED",
    Kind.RUNNING: HELD,
    Kind.RETRYING: "WAIT_RETRY",
    Kind.WAITING: "WAITING_EXTERNAL",
    Kind.FAILED: "FAILED",
    Kind.DEAD_LETTERED: "DLQ",
}


def retirement(release: Release) -> Section:
    """Return what still needs the release, if it is registered."""
    found = blockers(release) if release.status == "REGISTERED" else []
    only_failures = bool(found) and all(each.kind in FAILURES for each in found)
    section = {"lines": lines_of(release, found), "only_failures": only_failures}
    return Section("executions/release_retirement.html", section)


def lines_of(release: Release, found: Iterable[Blocker]) -> list[dict[str, Any]]:
    """Return a line for each blocker of a release, with a link to exactly its rows."""
    return [{"label": LABELS[each.kind], "count": each.count, "href": _link(release, each)} for each in found]


def _link(release: Release, blocker: Blocker) -> str:
    if blocker.kind in {Kind.ACTIVE, Kind.GRADUAL, Kind.SKEW_GRACE}:
        return reverse("admin:releases_pipeline_change", args=[release.pipeline_id])
    tenant = release.pipeline.tenant.slug
    if blocker.kind in REQUESTS:
        query = {"release": str(release.pk), "status": REQUESTS[blocker.kind]}
        return f"{reverse('admin:releases_activationrequest_changelist')}?{urlencode(query)}"
    if blocker.kind is Kind.CAMPAIGN:
        query = {"release": str(release.pk)}
        return f"{reverse('admin:executions_campaign_changelist')}?{urlencode(query)}"
    query = {
        "status": STATUSES[blocker.kind],
        "pipeline": release.pipeline.pipeline_id,
        "release": release.release_version,
        "tenant": tenant,
        **({"smoke": "no"} if blocker.kind in FAILURES else {}),
    }
    return f"{reverse('admin:executions_execution_changelist')}?{urlencode(query)}"


section_sources.append(retirement)
