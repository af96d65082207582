"""The form above the list of executions: its fields, the columns, and the acts on selected rows."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest

from executions.admin.campaign_drafts import VERBS, scopes_of
from executions.admin.execution_search import SearchRequest
from executions.admin.filters import NEWEST, PIPELINES_SHOWN
from executions.models import Campaign, DeadLetter
from executions.search import columns
from executions.search.conditions import STATUSES
from releases.models import Pipeline, Release
from tenancy.admin.base import holds_anywhere
from tenancy.roles import Scope, roles_granting

Kind = Campaign.Kind
RELEASES_SHOWN = 100
SPANS = ("15m", "1h", "24h", "7d")
LABELS = {
    "status": "Status",
    "pipeline": "Pipeline",
    "release": "Release",
    "error": "Error code",
    "step": "Step",
    "since": "Submitted since",
    "until": "Submitted before",
    "ended": "Ended since",
    "tag": "Tag",
    "by": "Submitted by",
    "stranded": "Waits for a worker",
    "smoke": "Smoke tests",
    "group": "Failure group",
    "tenant": "Tenant",
}
HINTS = {"step": "2", "tag": "customer=42", "by": "me", "since": "2h", "until": "2026-01-31 14:00", "ended": "15m"}
ACTS = {Kind.REDRIVE: "replay", Kind.RESUBMIT: "redo", Kind.PAUSE: "pause", Kind.CANCEL: "cancel"}
"""The acts on many executions, each with its icon."""


@dataclass(frozen=True, slots=True)
class Field:
    """One condition. It has either `choices` or `suggestions`."""

    name: str
    value: str
    error: str
    choices: Sequence[tuple[str, str]] = ()
    suggestions: Sequence[str] = ()

    @property
    def label(self) -> str:
        return LABELS[self.name]

    @property
    def hint(self) -> str:
        return HINTS.get(self.name, "All")


def fields(requested: SearchRequest) -> Iterator[Field]:
    """Yield the fields with their values, errors, and what can be chosen."""
    errors = {each["field"]: each["message"] for each in requested.problem.errors} if requested.problem else {}
    choices: dict[str, Sequence[tuple[str, str]]] = {
        "status": list(STATUSES.items()),
        "stranded": [("yes", "No worker may run it"), ("no", "Not stranded")],
        "smoke": [("yes", "Only smoke tests"), ("no", "No smoke tests")],
        "tenant": [(each.slug, each.slug) for each in requested.tenants],
    }
    suggestions: dict[str, Sequence[str]] = {
        "pipeline": _pipelines(requested),
        "release": _releases(requested),
        "error": _error_codes(requested),
        **dict.fromkeys(("since", "until", "ended"), SPANS),
        "by": ("me",),
    }
    for name in LABELS:
        value, error = requested.values[name], errors.get(name, "")
        if (name == "tenant" and len(requested.tenants) < 2) or (name == "group" and not value):
            continue  # the page of a failure group sets the condition
        yield Field(name, value, error, choices.get(name, ()), suggestions.get(name, ()))


def columns_of(requested: SearchRequest) -> list[tuple[str, str, bool]]:
    """Return the name and label of each column that can be chosen, and whether it is shown."""
    return [(name, label, name in requested.columns) for name, (label, _) in columns.COLUMNS.items() if name != "id"]


def acts(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the acts on many executions, each with the reason why the user may not do it, or ""."""
    return [
        {"name": kind.value, "label": VERBS[kind], "icon": icon, "why_not": _denial(request, scopes_of(kind))}
        for kind, icon in ACTS.items()
    ]


def _denial(request: HttpRequest, scopes: Iterable[Scope]) -> str:
    missing = [scope for scope in scopes if not holds_anywhere(request, scope)]
    if not missing:
        return ""
    roles = ", ".join(role.label.lower() for role in roles_granting(missing[0]))
    return f"Your role may not do this. These roles may: {roles}."


def _pipelines(requested: SearchRequest) -> list[str]:
    rows = Pipeline.objects.filter(tenant__in=requested.tenants).order_by("pipeline_id")
    return list(rows.values_list("pipeline_id", flat=True).distinct()[:PIPELINES_SHOWN])


def _releases(requested: SearchRequest) -> list[str]:
    rows = Release.objects.filter(pipeline__tenant__in=requested.tenants).order_by("-pk")
    if requested.search.pipeline_id:
        rows = rows.filter(pipeline__pipeline_id=requested.search.pipeline_id)
    return list(dict.fromkeys(rows.values_list("release_version", flat=True)[:RELEASES_SHOWN]))


def _error_codes(requested: SearchRequest) -> list[str]:
    newest = DeadLetter.objects.filter(tenant__in=requested.tenants).order_by("-id")
    return sorted(set(newest.values_list("error_code", flat=True)[:NEWEST]))
