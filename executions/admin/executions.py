"""Executions with their pins and histories, and the operators' requests to re-drive or cancel one."""

import uuid
from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, reverse
from django.utils.safestring import SafeString
from unfold.paginator import InfinitePaginator

from executions.admin import provenance, resubmit
from executions.admin.confirmation import Confirmation, OperatorRequest, confirm
from executions.admin.documents import bounded_json, on_one_line
from executions.admin.filters import STATE_VARIANTS, PipelineFilter, ReleaseFilter, StrandedFilter, newest_first
from executions.holds.queries import holds_of
from executions.lifecycle import queries
from executions.lifecycle.cancellation import cancel
from executions.lifecycle.redrive import redrivable, redrive
from executions.models import CLAIMED, DUE_VALUES, TERMINAL_VALUES, Execution, Interaction
from executions.models.states import State, legal
from executions.submission.resubmission import RESUBMITTABLE, links, origin
from executions.workers.stranded import why_stranded
from foundation.admin.columns import badge, column, precise
from foundation.admin.times import timed
from releases.models import Pipeline, Revocation
from releases.states import Status
from tenancy.access import tenants_of
from tenancy.admin.base import Person, ReadOnlyAdmin, ScopedFilter, TenantFilter
from tenancy.roles import Scope

EVENTS_SHOWN = 200
QUESTIONS_SHOWN = 20
HELD = "held"


class StatusFilter(ScopedFilter):
    title = "status"
    parameter_name = "status"

    def choices_for(self, person: Person) -> Iterator[tuple[str, str]]:
        yield "live", "All live executions"
        yield HELD, "Running, started or not"
        yield from ((status, status) for status in STATE_VARIANTS)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Execution]) -> QuerySet[Execution]:
        if self.value() == "live":
            return queryset.exclude(status__in=TERMINAL_VALUES)
        if self.value() == HELD:
            return queryset.filter(status=State.RUNNING)
        if self.value() in (CLAIMED, State.RUNNING):
            return queryset.filter(status=State.RUNNING, running_since__isnull=self.value() == CLAIMED)
        return queryset.filter(status=self.value()) if self.value() else queryset


class SmokeFilter(ScopedFilter):
    title = "smoke tests"
    parameter_name = "smoke"

    def choices_for(self, person: Person) -> Iterator[tuple[str, str]]:
        yield from (("yes", "Only smoke tests"), ("no", "No smoke tests"))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Execution]) -> QuerySet[Execution]:
        return queryset.filter(smoke=self.value() == "yes") if self.value() else queryset


@admin.register(Execution)
class ExecutionAdmin(ReadOnlyAdmin):
    list_display = (
        "short_id",
        "state",
        "smoke_test",
        "pipeline_id",
        "release_version",
        "tenant",
        "attempt",
        "submitted",
        "finished",
    )
    list_select_related = ("tenant",)
    list_filter = (StatusFilter, SmokeFilter, PipelineFilter, ReleaseFilter, TenantFilter, StrandedFilter)
    search_fields = ("execution_key",)
    search_help_text = "The id or the idempotency key, in full"
    list_per_page = 50
    paginator = InfinitePaginator
    show_full_result_count = False
    sortable_by = ()

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        return newest_first(request)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Execution]:
        rows = super().get_queryset(request).select_related("tenant", "release__pipeline__activation__release")
        return rows.defer("input", "result")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Execution], search_term: str
    ) -> tuple[QuerySet[Execution], bool]:
        """Search by complete id or complete key: indexes keep this fast for any number of executions."""
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            return queryset.filter(pk=uuid.UUID(term)), False
        except ValueError:
            pass
        owners = list(
            Pipeline.objects.filter(tenant__in=tenants_of(request.user)).values_list("pipeline_id", flat=True)
        )
        return queryset.filter(pipeline_id__in=owners, execution_key=term), False

    @column("Execution")
    def short_id(self, execution: Execution) -> str:
        return str(execution.pk)[:13] + "…"

    @badge("Status", STATE_VARIANTS)
    def state(self, execution: Execution) -> str:
        return execution.shown_status

    @badge("Kind", {"smoke test": "info"}, empty="")
    def smoke_test(self, execution: Execution) -> str | None:
        return "smoke test" if execution.smoke else None

    @column("Submitted")
    def submitted(self, execution: Execution) -> SafeString | None:
        return timed(execution.created_at)

    @column("Finished", empty="-")
    def finished(self, execution: Execution) -> SafeString | None:
        return timed(execution.finished_at)

    def own_urls(self) -> list[URLPattern]:
        return [
            self.own("<uuid:object_id>/redrive/", "redrive", self.redrive),
            self.own("<uuid:object_id>/cancel/", "cancel", self.cancel),
            self.own("<uuid:object_id>/resubmit/", "resubmit", self.resubmit),
            self.fragment("<uuid:object_id>/live/", "live", self.live),
            self.own("<uuid:object_id>/provenance/", "provenance", self.provenance),
            self.own("<uuid:object_id>/provenance.dsse.json", "provenance_document", self.provenance_document),
        ]

    def redrive(self, request: HttpRequest, object_id: uuid.UUID) -> HttpResponse:
        return confirm(self, request, self.row_or_404(request, object_id), _redrive_confirmation, _redrive)

    def cancel(self, request: HttpRequest, object_id: uuid.UUID) -> HttpResponse:
        return confirm(self, request, self.row_or_404(request, object_id), _cancel_confirmation, _cancel)

    def resubmit(self, request: HttpRequest, object_id: uuid.UUID) -> HttpResponse:
        return resubmit.show(self, request, self.row_or_404(request, object_id))

    def provenance(self, request: HttpRequest, object_id: uuid.UUID) -> HttpResponse:
        execution = self.row_or_404(request, object_id)
        shown = provenance.shown(execution)
        title = f"Provenance of {execution}"
        return self.page(request, "executions/provenance.html", title=title, original=execution, **shown)

    def provenance_document(self, request: HttpRequest, object_id: uuid.UUID) -> HttpResponse:
        return provenance.download(self.row_or_404(request, object_id))

    def show(self, request: HttpRequest, row: Execution) -> HttpResponse:
        return self.page(
            request, "executions/execution.html", title=str(row), original=row, **self._shown(request, row)
        )

    def live(self, request: HttpRequest, object_id: uuid.UUID) -> HttpResponse:
        """Return the live part of the page, or 204 if the page already shows its current state."""
        execution = self.row_or_404(request, object_id)
        if request.GET.get("shown") == _mark(execution):
            return HttpResponse(status=204)
        return self.page(request, "executions/execution_live.html", **self._shown(request, execution))

    def _shown(self, request: HttpRequest, execution: Execution) -> dict[str, Any]:
        state = State(execution.status)
        return {
            **_shown(execution),
            "may_operate": self.may(request, Scope.OPERATE, execution),
            "may_answer": self.may(request, Scope.ANSWER, execution),
            "redrivable": state in redrivable(allow_failed=True),
            "cancellable": legal(state, State.CANCELLED),
            "may_activate": self.may(request, Scope.ACTIVATE, execution),
            "pausable": legal(state, State.CANCELLED) and not execution.held,
            "resubmittable": state in RESUBMITTABLE
            and all(self.may(request, scope, execution) for scope in resubmit.SCOPES),
        }


def _stranded(execution: Execution) -> str | None:
    """Return why no worker may run a due execution; None if one may, or if it is not due."""
    return why_stranded(execution.release_id) if execution.status in DUE_VALUES else None


def _mark(execution: Execution) -> str:
    """Return a string that changes with every change of the page."""
    lease = int(execution.lease_expires_at.timestamp()) if execution.lease_expires_at else 0
    paused = "-".join(str(hold.pk) for hold in holds_of(execution))
    return f"{execution.event_count}.{lease}.{_stranded(execution) or ''}.{len(_open_questions(execution))}.{paused}"


def _open_questions(execution: Execution) -> list[Interaction]:
    """Return the interactions that it waits for, in the order of the items."""
    if execution.status != State.WAITING_EXTERNAL:
        return []
    rows = Interaction.objects.filter(unit=execution.await_unit_id, status__in=Interaction.OPEN)
    return list(rows.defer("request", "response").order_by("item_index")[: QUESTIONS_SHOWN + 1])


def _shown(execution: Execution) -> dict[str, Any]:
    events = list(execution.events.order_by("-sequence")[: EVENTS_SHOWN + 1])
    activation = execution.release.pipeline.activation
    questions = _open_questions(execution)
    return {
        "execution": execution,
        "variant": STATE_VARIANTS[execution.shown_status],
        "over": execution.status in TERMINAL_VALUES,
        "mark": _mark(execution),
        "holds": holds_of(execution),
        "waits": execution.status in DUE_VALUES,
        "stranded": _stranded(execution),
        "active": activation.release if activation else None,
        "seconds": _seconds(execution),
        "traceback": queries.traceback(execution),
        "input": bounded_json(execution.input),
        "result": bounded_json(queries.result(execution)) if execution.status == State.SUCCEEDED else None,
        "events": [
            {
                "event": event,
                "at": precise(event.at),
                "variant": STATE_VARIANTS.get(event.status, ""),
                "data": on_one_line(event.data),
            }
            for event in events[:EVENTS_SHOWN]
        ],
        "more_events": len(events) > EVENTS_SHOWN,
        "origin": origin(execution),
        "resubmissions": [(link, STATE_VARIANTS.get(link.status, "default")) for link in links(execution)],
        "questions": questions[:QUESTIONS_SHOWN],
        "more_questions": len(questions) > QUESTIONS_SHOWN,
    }


def _seconds(execution: Execution) -> str:
    if execution.finished_at is None:
        return ""
    return f"{(execution.finished_at - execution.created_at).total_seconds():,.1f} s"


# --- requests -------------------------------------------------------------------------------------


def _facts(execution: Execution) -> list[tuple[str, Any]]:
    facts = [
        ("Execution", execution.pk),
        ("Tenant", execution.tenant.slug),
        ("Status", execution.shown_status),
        ("Pinned to", f"{execution.pipeline_id} {execution.release_version}"),
        ("Contract version", execution.contract_version),
        ("Step index", execution.current_step_index),
        ("Failed attempts", execution.attempt),
    ]
    error = [("Error", f"{execution.error_code}: {execution.error_message}")] if execution.error_code else []
    return [*facts, *error]


def _page_of(execution: Execution) -> str:
    return reverse("admin:executions_execution_change", args=[execution.pk])


def _redrive_confirmation(execution: Execution) -> Confirmation:
    state = State(execution.status)
    failed = state not in redrivable(allow_failed=False)
    status = execution.release.status
    revocation = Revocation.objects.filter(release=execution.release_id).first()
    refusal = ""
    if state not in redrivable(allow_failed=True):
        refusal = f"It is {state}. Only FAILED and DLQ executions can be re-driven."
    elif status == Status.RETIRED:
        refusal = f"Its release {execution.release_version} is retired, so it cannot run again."
    return Confirmation(
        title="Re-drive an execution",
        lead=(
            f"It runs again from the step where it failed, with a fresh retry budget. It stays on release "
            f"{execution.release_version}, to which it is pinned, even if another release is active now."
        ),
        notice=_revocation_notice(revocation) if revocation else "",
        button="Re-drive",
        icon="replay",
        back=_page_of(execution),
        facts=_facts(execution),
        version=execution.version,
        acknowledgement="Its error is one that no retry can help. Run it again anyway." if failed else "",
        second_acknowledgement="Its release is revoked. Run it on that release anyway." if revocation else "",
        refusal=refusal,
    )


def _revocation_notice(revocation: Revocation) -> str:
    return (
        f"{revocation.actor} revoked this release: “{revocation.reason}” A re-drive runs its code again, because the "
        "pin of an execution never changes."
    )


def _redrive(execution: Execution, requested: OperatorRequest) -> str:
    accepted = redrive(
        execution.tenant,
        execution.pk,
        actor=requested.actor,
        reason=requested.reason,
        expected_version=requested.expected_version,
        allow_failed=requested.acknowledged,
        allow_revoked=requested.acknowledged_too,
    )
    return (
        f"The execution was {accepted.previous_status}. It is queued on release {accepted.execution.release_version}."
    )


def _cancel_confirmation(execution: Execution) -> Confirmation:
    state = State(execution.status)
    terminal = not legal(state, State.CANCELLED)
    return Confirmation(
        title="Cancel an execution",
        lead=(
            "The execution ends now and permanently, and its open questions are withdrawn. A worker that runs it is "
            "notified; the step keeps its thread until it checks for cancellation or finishes. Its outcome is dropped. "
            "Its effects on other systems remain."
        ),
        button="Cancel the execution",
        icon="cancel",
        back=_page_of(execution),
        facts=_facts(execution),
        danger=True,
        refusal=f"It is {state}, which is terminal, so it cannot be cancelled." if terminal else "",
    )


def _cancel(execution: Execution, requested: OperatorRequest) -> str:
    cancel(execution.tenant, execution.pk, actor=requested.actor, reason=requested.reason)
    return "The execution is cancelled."
