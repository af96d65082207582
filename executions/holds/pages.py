"""The list of what is paused, and the pages that pause and resume executions, releases and pipelines."""

from functools import partial
from typing import Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from executions.console.confirmation import Confirmation, OperatorRequest, confirm
from executions.console.execution_search import RowsOfExecutions
from executions.holds import holds
from executions.models import TERMINAL_VALUES, Execution, Hold
from executions.models.states import State
from foundation.admin.columns import column, cut, timed
from foundation.plurals import up_to
from releases.models import Pipeline, Release
from tenancy.audit.acts import Act
from tenancy.console.base import LongList, ReadOnlyAdmin, View, serves
from tenancy.console.lists import TenantFilter, text, time
from tenancy.roles import Scope

_SHOWN = (
    "tenant",
    "execution__execution_key",
    "execution__pipeline_id",
    "execution__release_version",
    "pipeline__pipeline_id",
    "release__release_version",
    "release__pipeline__pipeline_id",
    "started_at",
    "started_by",
    "reason",
    "refuses_submissions",
    "ended_at",
)
COVERED = {
    State.QUEUED: "Queued executions",
    State.RUNNING: "Running executions",
    State.WAIT_RETRY: "Executions that wait for a retry",
    State.WAITING_EXTERNAL: "Executions that wait for an answer",
}
"""How the page names what a pause covers."""
REFUSE = {"submissions": "refuse"}
"""The query of the page that pauses and refuses submissions."""


def _pages(route: str, model: type[Model], scope: Scope, pause_act: Act, resume_act: Act) -> tuple[View, View]:
    """Return the pages that pause and resume a row of `model`."""
    kind = model.__name__.lower()

    @serves(f"{route}/pause/", pause_act, scope, name=f"{kind}_pause", model=model)
    def pause(pages: ReadOnlyAdmin, request: HttpRequest, row: Any) -> HttpResponse:
        refuses = request.GET.get("submissions") == REFUSE["submissions"] and model is not Execution
        return confirm(pages, request, row, partial(_pause_confirmation, refuses), partial(_pause, refuses))

    @serves(f"{route}/resume/", resume_act, scope, name=f"{kind}_resume", model=model)
    def resume(pages: ReadOnlyAdmin, request: HttpRequest, row: Any) -> HttpResponse:
        return confirm(pages, request, row, _resume_confirmation, _resume)

    return pause, resume


@admin.register(Hold)
class HoldAdmin(LongList):
    list_display = ("paused", "tenant", "pipeline_of", "release_of", "since", "by", "reason", "submissions")
    list_select_related = ("tenant", "execution", "pipeline", "release__pipeline")
    list_filter = (TenantFilter,)
    ordering = ("-started_at", "-id")
    empty = "Nothing is paused. Pause an execution, a release or a pipeline on its page."

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[RowsOfExecutions]:
        return RowsOfExecutions

    def get_queryset(self, request: HttpRequest) -> QuerySet[Hold]:
        rows = super().get_queryset(request).filter(ended_at=None)
        return rows.only(*_SHOWN)

    @column("Paused")
    def paused(self, hold: Hold) -> SafeString | str:
        if hold.execution is not None:
            return format_html("Execution {}", cut(hold.execution.business_key))
        return "Pipeline" if hold.release is None else "Release"

    pipeline_of = text("Pipeline", "pipeline_name")
    release_of = text("Release", "release_version", empty="-")
    since = time("Since", "started_at")
    by = text("By", "started_by")

    @column("Submissions")
    def submissions(self, hold: Hold) -> str:
        return "refused" if hold.refuses_submissions else "accepted"

    def show(self, request: HttpRequest, row: Hold) -> HttpResponse:
        return redirect(_page_of(row.execution or row.release or row.pipeline))

    execution_pause, execution_resume = _pages(
        "execution/<uuid:object_id>", Execution, Scope.OPERATE, Act.EXECUTION_PAUSE, Act.EXECUTION_RESUME
    )
    release_pause, release_resume = _pages(
        "release/<int:object_id>", Release, Scope.ACTIVATE, Act.RELEASE_PAUSE, Act.RELEASE_RESUME
    )
    pipeline_pause, pipeline_resume = _pages(
        "pipeline/<int:object_id>", Pipeline, Scope.ACTIVATE, Act.PIPELINE_PAUSE, Act.PIPELINE_RESUME
    )


def _page_of(target: Any) -> str:
    return reverse(f"admin:{target._meta.label_lower.replace('.', '_')}_change", args=[target.pk])


def _name(target: holds.Target) -> str:
    return f"{type(target).__name__.lower()} {target}"


def _facts(target: holds.Target) -> list[tuple[str, Any]]:
    hold = holds.open_hold(target)
    if hold is None:
        return []
    return [("Paused since", timed(hold.started_at)), ("By", hold.started_by), ("Reason", hold.reason)]


def _covered(target: holds.Target) -> list[tuple[str, Any]]:
    """Return what a pause covers now. The page of an execution is about that execution alone."""
    if isinstance(target, Execution):
        return []
    return [(COVERED[status], up_to(count, holds.MOST_COUNTED)) for status, count in holds.covered(target).items()]


def _pause_confirmation(refuses: bool, target: holds.Target) -> Confirmation:
    over = isinstance(target, Execution) and target.status in TERMINAL_VALUES
    submissions = "New executions are refused until then." if refuses else "New executions are accepted and wait."
    return Confirmation(
        title=f"Pause {_name(target)}",
        lead=(
            "Steps that are running finish. Nothing else starts until it is resumed. Retries, timers and deadlines are "
            f"suspended. {'' if isinstance(target, Execution) else submissions}"
        ).strip(),
        button="Pause and refuse submissions" if refuses else "Pause",
        icon="pause_circle",
        back=_page_of(target),
        facts=_facts(target) or _covered(target),
        refusal="It has ended, so it cannot be paused." if over else "",
        reason_required=True,
    )


def _pause(refuses: bool, target: holds.Target, requested: OperatorRequest) -> str:
    made = holds.pause(target, actor=requested.actor, reason=requested.reason, refuses_submissions=refuses)
    return f"The {_name(target)} {'is paused' if made.created else 'was paused before'}."


def _resume_confirmation(target: holds.Target) -> Confirmation:
    return Confirmation(
        title=f"Resume {_name(target)}",
        lead=(
            "Its work continues, unless another pause covers it. Retries, timers and deadlines are postponed by the "
            "length of the pause."
        ),
        button="Resume",
        icon="play_circle",
        back=_page_of(target),
        facts=_facts(target),
        refusal="" if holds.open_hold(target) else "It is not paused.",
    )


def _resume(target: holds.Target, requested: OperatorRequest) -> str:
    holds.resume(target, actor=requested.actor, reason=requested.reason)
    return f"The {_name(target)} is resumed."
