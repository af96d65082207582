"""The page of one execution: its pin and history, and the operators' requests to re-drive, resubmit or cancel it."""

import uuid
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, reverse

from executions.admin import execution_comparison, execution_header, execution_tabs, payloads, provenance, resubmit
from executions.admin.confirmation import Confirmation, OperatorRequest, confirm
from executions.failures import facts
from executions.lifecycle.cancellation import cancel
from executions.lifecycle.redrive import redrivable, redrive
from executions.models import Execution
from executions.models.states import OUTCOME_UNKNOWN, State, legal
from releases.models import Revocation
from releases.states import Status
from tenancy.admin.base import ReadOnlyAdmin
from tenancy.roles import Scope


class ExecutionPages(ReadOnlyAdmin):
    """The pages of one execution. `executions.admin.executions` adds the list."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Execution]:
        rows: QuerySet[Execution] = super().get_queryset(request).defer("progress")
        return rows

    def own_urls(self) -> list[URLPattern]:
        return [
            self.own("<uuid:object_id>/redrive/", "redrive", self.redrive),
            self.own("<uuid:object_id>/cancel/", "cancel", self.cancel),
            self.own("<uuid:object_id>/resubmit/", "resubmit", self.resubmit),
            self.fragment("<uuid:object_id>/live/", "live", self.live),
            self.own("<uuid:object_id>/compare/", "compare", self.compare),
            self.own("<uuid:object_id>/payloads/<slug:name>.json", "payload", self.payload),
            self.own("<uuid:object_id>/provenance/", "provenance", self.provenance),
            self.own("<uuid:object_id>/provenance.dsse.json", "provenance_document", self.provenance_document),
        ]

    def redrive(self, request: HttpRequest, object_id: uuid.UUID) -> HttpResponse:
        return confirm(self, request, self.row_or_404(request, object_id), _redrive_confirmation, _redrive)

    def cancel(self, request: HttpRequest, object_id: uuid.UUID) -> HttpResponse:
        return confirm(self, request, self.row_or_404(request, object_id), _cancel_confirmation, _cancel)

    def resubmit(self, request: HttpRequest, object_id: uuid.UUID) -> HttpResponse:
        return resubmit.show(self, request, self.row_or_404(request, object_id))

    def compare(self, request: HttpRequest, object_id: uuid.UUID) -> HttpResponse:
        return execution_comparison.show(self, request, self.row_or_404(request, object_id))

    def payload(self, request: HttpRequest, object_id: uuid.UUID, name: str) -> HttpResponse:
        return payloads.download(self, request, self.row_or_404(request, object_id), name)

    def provenance(self, request: HttpRequest, object_id: uuid.UUID) -> HttpResponse:
        execution = self.row_or_404(request, object_id)
        shown = provenance.shown(execution)
        title = f"Provenance of {execution}"
        return self.page(request, "executions/provenance.html", title=title, original=execution, **shown)

    def provenance_document(self, request: HttpRequest, object_id: uuid.UUID) -> HttpResponse:
        return provenance.download(self.row_or_404(request, object_id))

    def show(self, request: HttpRequest, row: Execution) -> HttpResponse:
        shown = self._shown(request, row, execution_header.Now(row))
        return self.page(request, "executions/execution.html", title=f"Execution {row}", original=row, **shown)

    def live(self, request: HttpRequest, object_id: uuid.UUID) -> HttpResponse:
        """Return the live part of the page, or 204 if the page already shows its current state."""
        execution = self.row_or_404(request, object_id)
        now = execution_header.Now(execution)
        if request.GET.get("shown") == now.mark:
            return HttpResponse(status=204)
        return self.page(request, "executions/execution_live.html", **self._shown(request, execution, now))

    def _shown(self, request: HttpRequest, execution: Execution, now: execution_header.Now) -> dict[str, Any]:
        may_read = self.may(request, Scope.PAYLOADS, execution)
        return {
            **execution_header.shown(execution, now),
            "may_operate": self.may(request, Scope.OPERATE, execution),
            "may_submit": self.may(request, Scope.SUBMIT, execution),
            "may_activate": self.may(request, Scope.ACTIVATE, execution),
            "may_read": may_read,
            "readers": payloads.readers(),
            **execution_tabs.shown(request, execution, may_read=may_read),
        }


# --- requests -------------------------------------------------------------------------------------


def _facts(execution: Execution) -> list[tuple[str, Any]]:
    shown = [
        ("Execution", execution.pk),
        ("Tenant", execution.tenant.slug),
        ("Status", execution.shown_status),
        ("Pinned to", f"{execution.pipeline_id} {execution.release_version}"),
        ("Contract version", execution.contract_version),
        ("Step", facts.step_now(execution)),
        ("Failed attempts", facts.failed_attempts(execution)),
    ]
    error = [("Error", f"{execution.error_code}: {execution.error_message}")] if execution.error_code else []
    return [*shown, *error]


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
    notice, alternative = _pinned_elsewhere(execution, revocation)
    return Confirmation(
        title="Re-drive an execution",
        lead=(
            f"{facts.restart_of(execution)} Its retries are counted from zero. It stays on release "
            f"{execution.release_version}, to which it is pinned."
        ),
        notice=notice,
        alternative=alternative,
        button="Re-drive",
        icon="replay",
        back=_page_of(execution),
        facts=_facts(execution),
        version=execution.version,
        acknowledgement=f"{_why_final(execution)} Run it again anyway." if failed else "",
        second_acknowledgement="Its release is revoked. Run it on that release anyway." if revocation else "",
        refusal=refusal,
    )


def _why_final(execution: Execution) -> str:
    if execution.error_code == OUTCOME_UNKNOWN:
        return "A worker may have carried it out already, and would do the work twice."
    return "Its error is not retryable."


def _pinned_elsewhere(execution: Execution, revocation: Revocation | None) -> tuple[str, tuple[str, str] | None]:
    """Return a warning if the release of the execution is not the active one, with a link to resubmit it there."""
    version = execution.release_version
    activation = execution.release.pipeline.activation
    active = activation.release if activation else None
    if active is not None and active.pk == execution.release_id and revocation is None:
        return "", None
    revoked = f"{revocation.actor} revoked release {version}: “{revocation.reason}” " if revocation else ""
    if active is None or active.pk == execution.release_id:
        return f"{revoked}No other release of the pipeline is active. A re-drive runs {version} again.", None
    address = reverse("admin:executions_execution_resubmit", args=[execution.pk])
    return (
        f"{revoked}Release {active.release_version} is active now. A re-drive runs {version} again and may fail again.",
        (f"Resubmit on {active.release_version} instead", address),
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
            "The execution ends now and permanently, and its open questions are withdrawn. Its worker is notified: a "
            "step that is running continues until it checks for cancellation or finishes, and its outcome is "
            "discarded. Effects on other systems are not undone."
        ),
        button="Cancel the execution",
        icon="cancel",
        back=_page_of(execution),
        facts=_facts(execution),
        danger=True,
        refusal=f"It has ended: it is {state}. It cannot be cancelled." if terminal else "",
    )


def _cancel(execution: Execution, requested: OperatorRequest) -> str:
    cancel(execution.tenant, execution.pk, actor=requested.actor, reason=requested.reason)
    return "The execution is cancelled."
