"""What the list of executions is made of: its columns, the form above it, and its download."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from executions import columns
from executions.console.execution_search import SearchRequest
from executions.console.filters import NEWEST, STATE_VARIANTS
from executions.models import DUE_VALUES, TERMINAL_VALUES, DeadLetter, Execution
from executions.models.states import PRIORITY_NAMES
from executions.search import STATUSES
from executions.search_values import PREFIX, field_of
from foundation.admin.columns import badge, class_name, column, copyable, cut, timed
from foundation.api.streaming import streamed_file
from foundation.database.bounded import time_limit
from foundation.errors import CoordinatorError
from foundation.exports import FORMATS
from foundation.spans import lasting
from releases.models import Pipeline, Release
from releases.registration.pages import CHOICES_SHOWN
from releases.step_names import Step
from tenancy.console.base import ReadOnlyAdmin, serves
from tenancy.console.lists import text, time
from wire.documents.search import Kind

HEAD = 23
"""How many characters of an id are hidden from view: those that it shares with ids of about the same time."""


class ExecutionColumns:
    """One method for each column: `columns.COLUMNS[name]` is shown by the method `<name>_column`."""

    release_column = text("Release", "release_version")
    by_column = text("Submitted by", "submitted_by")
    submitted_column = time("Submitted", "created_at")
    finished_column = time("Finished", "finished_at", empty="-")
    attempts_column = text("Retries", "attempt")
    tenant_column = text("Tenant", "tenant")
    concurrency_column = text("Concurrency key", "concurrency_key", empty="-")
    expires_column = time("Expires", "expires_at", empty="-")

    @column("Select")
    def select(self, execution: Execution) -> SafeString:
        return format_html(
            '<input type="checkbox" name="execution" value="{0}" aria-label="Select {0}" class="dc-select">',
            execution.pk,
        )

    @column("Execution")
    def id_column(self, execution: Execution) -> SafeString:
        key = str(execution.pk)
        link = format_html(
            '<a class="dc-link dc-mono dc-id" href="{}" title="{}"><span>{}</span>{}</a>',
            execution.address,  # type: ignore[attr-defined]  # the list sets it
            key,
            key[:HEAD],
            key[HEAD:],
        )
        return copyable(link, f"Copy the id {key}")

    @column("Pipeline")
    def pipeline_column(self, execution: Execution) -> SafeString:
        return cut(execution.pipeline_id)

    @column("Key")
    def key_column(self, execution: Execution) -> SafeString:
        key = execution.business_key
        shown = copyable(format_html("<span>{}</span>", cut(key)), f"Copy the key {key}")
        if key == execution.execution_key:
            return shown
        return shown + format_html(' <span class="dc-quiet" title="{}">resubmission</span>', execution.execution_key)

    @badge("Status", STATE_VARIANTS)
    def status_column(self, execution: Execution) -> str:
        return execution.shown_status

    @badge("Kind", {"smoke test": "info"})
    def smoke_column(self, execution: Execution) -> str | None:
        return "smoke test" if execution.smoke else None

    @column("Error", empty="-")
    def error_column(self, execution: Execution) -> SafeString | None:
        if execution.error_code is None:
            return None
        message = execution.message  # type: ignore[attr-defined]  # the list sets it; empty if it may not be read
        return format_html('<span title="{}">{}</span>', message, class_name(execution.error_code))

    @column("Step", empty="-")
    def step_column(self, execution: Execution) -> Step | None:
        return columns.step(execution)

    @column("Duration")
    def duration_column(self, execution: Execution) -> SafeString | str:
        if execution.status in TERMINAL_VALUES:
            return lasting(execution.finished_at - execution.created_at)  # type: ignore[operator]  # it has ended
        return format_html('<span class="dc-nowrap">{}</span> so far', lasting(timezone.now() - execution.created_at))

    @column("Due", empty="-")
    def due_column(self, execution: Execution) -> SafeString | None:
        return timed(execution.due_at) if execution.status in DUE_VALUES else None

    @badge("Priority", {"high": "warning", "low": "default"})
    def priority_column(self, execution: Execution) -> str | None:
        return None if execution.priority is None else PRIORITY_NAMES[execution.priority]

    @column("Tags", empty="-")
    def tags_column(self, execution: Execution) -> SafeString | None:
        tags = ((tag,) for tag in execution.tags or ())
        return format_html_join(" ", '<span class="dc-tag">{}</span>', tags) or None


def value_column(name: str) -> Callable[[Execution], str | None]:
    """Return the column of a value to search, `search.NAME`."""
    field = field_of(name)

    @column(field, empty="-")
    def value(execution: Execution) -> str | None:
        text: str | None = execution.found_values.get(field)  # type: ignore[attr-defined]  # no column
        return text

    value.__name__ = f"value-{field}"
    return value


RELEASES_SHOWN = 100
TIME_SPANS = ("15m", "1h", "24h", "7d")
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
HINTS = {"step": "Bill", "tag": "customer=42", "by": "me", "since": "2h", "until": "2026-01-31 14:00", "ended": "15m"}


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
        return LABELS.get(self.name) or self.name.removeprefix(PREFIX).replace(".", " ")

    @property
    def hint(self) -> str:
        return HINTS.get(self.name, "All")


def fields(requested: SearchRequest) -> Iterator[Field]:
    """Yield the fields with their values, errors, and what can be chosen."""
    errors = {error["field"]: error["message"] for error in requested.problem.errors} if requested.problem else {}
    choices: dict[str, Sequence[tuple[str, str]]] = {
        "status": list(STATUSES.items()),
        "stranded": [("yes", "No worker may run it"), ("no", "Not stranded")],
        "smoke": [("yes", "Only smoke tests"), ("no", "No smoke tests")],
        "tenant": [(tenant.slug, tenant.slug) for tenant in requested.tenants],
    }
    suggestions: dict[str, Sequence[str]] = {
        "pipeline": _pipelines(requested),
        "release": _releases(requested),
        "error": _error_codes(requested),
        **dict.fromkeys(("since", "until", "ended"), TIME_SPANS),
        "by": ("me",),
    }
    for name in LABELS:
        value, error = requested.values[name], errors.get(name, "")
        if (name == "tenant" and len(requested.tenants) < 2) or (name == "group" and not value):
            continue  # the page of a failure group sets the condition
        yield Field(name, value, error, choices.get(name, ()), suggestions.get(name, ()))
    for name in _value_names(requested):
        yield Field(name, requested.query.get(name, ""), errors.get(name, ""))


def _value_names(requested: SearchRequest) -> list[str]:
    """Return the conditions on values that the pipeline of the search declares, or that the query has."""
    names = []
    for field in requested.declared:
        ends = ("",) if field.kind is Kind.TEXT else ("", ".from", ".to")
        names += [f"{PREFIX}{field.name}{end}" for end in ends]
    return list(dict.fromkeys([*names, *(name for name in requested.query if name.startswith(PREFIX))]))


def shown(names: Sequence[str]) -> tuple[Any, ...]:
    """Return the columns of the list for these names, as `columns.chosen` returns them."""
    return ("select", *(value_column(name) if name.startswith(PREFIX) else f"{name}_column" for name in names))


def columns_of(requested: SearchRequest) -> list[tuple[str, str, bool]]:
    """Return the name and label of each column that can be chosen, and whether it is shown."""
    labels = {name: label for name, (label, _) in columns.COLUMNS.items() if name != "id"}
    values = [
        *(f"{PREFIX}{field.name}" for field in requested.declared),
        *(name for name in requested.columns if name.startswith(PREFIX)),
    ]
    labels |= {name: field_of(name) for name in values}
    return [(name, label, name in requested.columns) for name, label in labels.items()]


def _pipelines(requested: SearchRequest) -> list[str]:
    rows = Pipeline.objects.filter(tenant__in=requested.tenants).order_by("pipeline_id")
    return list(rows.values_list("pipeline_id", flat=True).distinct()[:CHOICES_SHOWN])


def _releases(requested: SearchRequest) -> list[str]:
    rows = Release.objects.filter(pipeline__tenant__in=requested.tenants).order_by("-pk")
    if requested.search.pipeline_id:
        rows = rows.filter(pipeline__pipeline_id=requested.search.pipeline_id)
    return list(dict.fromkeys(rows.values_list("release_version", flat=True)[:RELEASES_SHOWN]))


def _error_codes(requested: SearchRequest) -> list[str]:
    newest = DeadLetter.objects.filter(tenant__in=requested.tenants).order_by("-id")
    return sorted(set(newest.values_list("error_code", flat=True)[:NEWEST]))


@serves("export/<str:form>/")
def export(pages: ReadOnlyAdmin, request: HttpRequest, form: str) -> HttpResponseBase:
    """Download what the query of the address selects. A problem is shown on the list."""
    if not pages.has_view_permission(request) or form not in FORMATS:
        raise Http404
    requested = SearchRequest.of(request)
    try:
        if requested.problem:
            raise requested.problem
        with time_limit(columns.SECONDS):  # some conditions are looked up first
            rows = requested.rows()
        lines: Any = columns.lines(rows, requested.columns, form)
        return streamed_file(request, lines, media_type=FORMATS[form], filename=f"executions.{form}")
    except CoordinatorError as problem:
        messages.error(request, problem.detail)
        return redirect(f"{reverse('admin:executions_execution_changelist')}?{requested.query_string}")
