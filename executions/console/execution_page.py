"""The page of one execution: its state, pin, history and provenance, and the requests to re-drive or cancel it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.db.models import QuerySet, Value
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse

from executions.console import execution_comparison, execution_tabs, payloads
from executions.console.confirmation import Confirmation, OperatorRequest, confirmed
from executions.console.filters import STATE_VARIANTS
from executions.explanation.code import sentence_of
from executions.explanation.present import QUESTIONS_SHOWN, RETIRED, Present, attempts, what_starts
from executions.failures import queries as failures
from executions.lifecycle import queries
from executions.lifecycle.interventions import cancel, redrivable, redrive
from executions.lifecycle.queries import links, origin
from executions.lifecycle.replacements import Replacement, replacement, replacement_id
from executions.models import DUE_VALUES, TERMINAL_VALUES, Execution, SearchValue
from executions.models.states import MOVES, OUTCOME_UNKNOWN, PRIORITY_NAMES, TERMINAL, State
from executions.schedules.schedules import fire_of
from executions.step_reports import step_reports
from releases.models import Release, Revocation
from releases.states import Status
from releases.step_names import Step, calls_pipelines
from releases.step_policies import policies_of
from releases.trust import trust
from tenancy.audit.acts import Act
from tenancy.console.base import LongList, serves
from tenancy.roles import Scope
from wire.documents.concurrency import OF_ALL
from wire.documents.contract import CHILD
from wire.documents.execution_statement import ENVELOPE_MEDIA_TYPE
from wire.documents.signing import key_id

if TYPE_CHECKING:
    from executions.children.calls import Place

REFRESH_SECONDS = 10
"""After how many seconds the page of a live execution is drawn again, even if nothing has happened."""
_SHOWN_OF_RELEASE: Final = (
    "status",
    "contract_version",
    "declarations",
    "pipeline__step_policies",
    "pipeline__concurrency_limit",
    "pipeline__rate_limit",
    "pipeline__activation__release__release_version",
)


class Now(Present):
    """The present state for one request. `mark` is a string that changes with every change of the page."""

    def __init__(self, execution: Execution) -> None:
        releases = Release.objects.select_related("pipeline__activation__release").only(*_SHOWN_OF_RELEASE)
        execution.release = releases.get(pk=execution.release_id)
        super().__init__(execution)
        self.report = step_reports.newest(execution)
        self.mark = self._mark(execution)

    def _mark(self, execution: Execution) -> str:
        lease = int(execution.lease_expires_at.timestamp()) if execution.lease_expires_at else 0
        paused = "-".join(str(hold.pk) for hold in self.holds)
        age = (self.at - execution.updated_at).total_seconds() // REFRESH_SECONDS
        said = self.report.reported_at.timestamp() if self.report else ""
        drawn = "" if execution.status in TERMINAL_VALUES else int(age)
        return f"{execution.event_count}.{lease}.{self.stranded or ''}.{len(self.questions)}.{paused}.{said}.{drawn}"


def header(execution: Execution, now: Now) -> dict[str, Any]:
    """Return the context of the header."""
    state, resubmitted, resubmissions = State(execution.status), origin(execution), links(execution)
    has_relatives = resubmitted or resubmissions or execution.parent_id
    return {
        "execution": execution,
        "variant": STATE_VARIANTS[execution.shown_status],
        "over": execution.status in TERMINAL_VALUES,
        "mark": now.mark,
        "holds": now.holds,
        "waits": execution.status in DUE_VALUES,
        "priority": PRIORITY_NAMES[execution.priority],
        "now": now.now(),
        "stranded": now.why_stranded(),
        "start": what_starts(execution),
        "of_all": execution.concurrency_key == OF_ALL,
        "active": execution.release.pipeline.active_release,
        "retired": execution.release.status == Status.RETIRED,
        "revocation": Revocation.objects.filter(release=execution.release_id).first(),
        "lasted": now.lasted,
        "attempts": attempts(execution),
        "step": now.step,
        "policy": policies_of(execution.release).get(now.step.name),
        "progress": now.report if now.report is not None and now.report.done is not None else None,
        "items": now.items,
        "values": _values(execution),
        "fire": fire_of(execution),
        "origin": resubmitted,
        "origin_step": resubmitted and execution.step_at(resubmitted.checkpoint_step or 0),
        "resubmissions": [
            (
                link,
                STATE_VARIANTS.get(link.status, "default"),
                execution.step_at(link.resubmission.checkpoint_step or 0),
            )
            for link in resubmissions
        ],
        "replacement": replacement(execution.pk) if has_relatives and state in redrivable(allow_failed=True) else None,
        "parent_place": _place(execution) if execution.parent_id else None,
        "children": _children(execution),
        "questions": [question for question in now.questions[:QUESTIONS_SHOWN] if question.transport != CHILD],
        "more_questions": len(now.questions) > QUESTIONS_SHOWN,
        "refusals": _refusals(execution, state),
    }


def _place(child: Execution) -> Place:
    from executions.children.calls import Place  # most executions are no children

    return Place.of_child(child)


def _children(execution: Execution) -> list[tuple[Execution, str, Step, int | None]]:
    if not calls_pipelines(execution.release_id, execution.contract_version):
        return []
    from executions.children.calls import Place, children

    places = [(child, Place.of_child(child)) for child in children(execution)]
    return [
        (child, STATE_VARIANTS[child.shown_status], execution.step_at(place.step_index), place.item_index)
        for child, place in places
    ]


def _values(execution: Execution) -> list[SearchValue]:
    """Return the values by which it can be found. Without a release that declares them, nothing is read."""
    return list(execution.search_values.all()) if execution.release.search else []


def _refusals(execution: Execution, state: State) -> dict[str, str]:
    """Return why each act is not possible now; empty if it is possible for the roles that may do it."""
    ended = "" if State.CANCELLED in MOVES[state] else "It has ended."
    redrive = "" if state in redrivable(allow_failed=True) else "Only failed executions can be re-driven."
    if not redrive and execution.release.status == Status.RETIRED:
        redrive = RETIRED
    return {
        "redrive": redrive,
        "resubmit": "" if state in TERMINAL else "It must end before it can be resubmitted.",
        "cancel": ended,
        "pause": ended,
    }


def _facts(execution: Execution) -> list[tuple[str, Any]]:
    shown = [
        ("Execution", execution.pk),
        ("Tenant", execution.tenant.slug),
        ("Status", execution.shown_status),
        ("Pinned to", f"{execution.pipeline_id} {execution.release_version}"),
        ("Contract version", execution.contract_version),
        ("Step", failures.step_now(execution)),
        ("Failed attempts", failures.failed_attempts(execution)),
    ]
    error = [("Error", f"{execution.error_code}: {execution.error_message}")] if execution.error_code else []
    return [*shown, *error]


def _page_of(execution: Execution) -> str:
    return reverse("admin:executions_execution_change", args=[execution.pk])


def _redrive_confirmation(execution: Execution) -> Confirmation:
    replaced = replacement_with_release(execution)
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
            f"{failures.restart_of(execution)} Its retries are counted from zero. It stays on release "
            f"{execution.release_version}, to which it is pinned."
        ),
        notice=notice,
        alternative=alternative,
        button="Re-drive",
        icon="replay",
        back=_page_of(execution),
        facts=_facts(execution),
        version=execution.version,
        acknowledgements={
            name: text
            for name, text, is_asked in (
                ("allow_failed", f"{_why_final(execution)} Run it again anyway.", failed),
                ("allow_revoked", "Its release is revoked. Run it on that release anyway.", revocation),
                ("allow_replaced", "Run the work twice anyway.", replaced),
            )
            if is_asked
        },
        replacement=None if refusal else replaced,
        refusal=refusal,
    )


def replacement_with_release(execution: Execution) -> Replacement | None:
    """Return what carries on the work of the execution. Set its release and pipeline, with the same statement."""
    rows = Release.objects.select_related("pipeline__activation__release").only(*_SHOWN_OF_RELEASE)
    release = rows.annotate(replaced_by=replacement_id(Value(execution.pk))).get(pk=execution.release_id)
    execution.release = release
    return replacement(execution.pk) if release.replaced_by else None


def _why_final(execution: Execution) -> str:
    if execution.error_code == OUTCOME_UNKNOWN:
        return "A worker may have carried it out already, and would do the work twice."
    return "Its error is not retryable."


def _pinned_elsewhere(execution: Execution, revocation: Revocation | None) -> tuple[str, tuple[str, str] | None]:
    """Return a warning if the release of the execution is not the active one, with a link to resubmit it there."""
    version = execution.release_version
    active = execution.release.pipeline.active_release
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
        allow_failed="allow_failed" in requested.acknowledged,
        allow_revoked="allow_revoked" in requested.acknowledged,
        allow_replaced="allow_replaced" in requested.acknowledged,
    )
    return (
        f"The execution was {accepted.previous_status}. It is queued on release {accepted.execution.release_version}."
    )


def _cancel_confirmation(execution: Execution) -> Confirmation:
    state = State(execution.status)
    terminal = State.CANCELLED not in MOVES[state]
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


RUNS_SHOWN = 200


# --- the pages ---


class ExecutionPages(LongList):
    """The pages of one execution. `governance.admin` adds the list and the acts."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Execution]:
        rows: QuerySet[Execution] = super().get_queryset(request).defer("progress", "started_at", "family_due_at")
        return rows

    compare = execution_comparison.show
    payload = payloads.download

    redrive = confirmed(
        "<uuid:object_id>/redrive/", Act.EXECUTION_REDRIVE, Scope.OPERATE, _redrive_confirmation, _redrive
    )
    cancel = confirmed("<uuid:object_id>/cancel/", Act.EXECUTION_CANCEL, Scope.OPERATE, _cancel_confirmation, _cancel)

    @serves("<uuid:object_id>/provenance/")
    def provenance(self, request: HttpRequest, execution: Execution) -> HttpResponse:
        shown = queries.runs_of_execution(execution)
        runs = shown.entries[:RUNS_SHOWN]
        return self.page(
            request,
            "executions/provenance.html",
            title=f"Provenance {execution}",
            original=execution,
            execution=execution,
            runs=[{**run, "sentence": sentence_of(run)} for run in runs],
            more_runs=len(shown.entries) - len(runs) + shown.omitted,
            activation=queries.activation_for(execution),
            submitter=queries.submitter_of(execution).who,
            artifacts=list(execution.release.artifacts.order_by("position")),
            key_id=key_id(trust.statement_public_key()) if trust.has_statement_key() else "",
        )

    @serves("<uuid:object_id>/provenance.dsse.json")
    def provenance_document(self, request: HttpRequest, execution: Execution) -> HttpResponse:
        """Download the signed document. Without a key, the document does not exist."""
        if not trust.has_statement_key():
            raise Http404
        headers = {"Content-Disposition": f'attachment; filename="{queries.provenance_file_name(execution)}"'}
        return HttpResponse(queries.signed_provenance(execution), content_type=ENVELOPE_MEDIA_TYPE, headers=headers)

    def show(self, request: HttpRequest, row: Execution) -> HttpResponse:
        shown = self._shown(request, row, Now(row))
        return self.page(request, "executions/execution.html", title=f"Execution {row}", original=row, **shown)

    @serves("<uuid:object_id>/live/", polled=True)
    def live(self, request: HttpRequest, execution: Execution) -> HttpResponse:
        """Return the live part of the page, or 204 if the page already shows its current state."""
        now = Now(execution)
        if request.GET.get("shown") == now.mark:
            return HttpResponse(status=204)
        return self.page(request, "executions/execution_live.html", **self._shown(request, execution, now))

    def _shown(self, request: HttpRequest, execution: Execution, now: Now) -> dict[str, Any]:
        may_read = self.has_scope(request, Scope.PAYLOADS, execution)
        return {
            **header(execution, now),
            "activation": queries.activation_for(execution),
            "submitter": queries.submitter_of(execution).who,
            "may_operate": self.has_scope(request, Scope.OPERATE, execution),
            "may_submit": self.has_scope(request, Scope.SUBMIT, execution),
            "may_activate": self.has_scope(request, Scope.ACTIVATE, execution),
            "may_read": may_read,
            **execution_tabs.shown(request, execution, may_read=may_read),
        }
