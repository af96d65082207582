"""The form that resubmits an execution which has ended: the release, the input, and the operator's reason."""

import json
import uuid
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from executions.console.confirmation import HIGHEST_VERSION, LONGEST_REASON, form_page
from executions.console.execution_page import replacement_with_release
from executions.console.payloads import JSON_SHOWN, typed_value
from executions.models import Execution, WorkerEligibility
from executions.models.states import TERMINAL, State
from executions.step_reports import failed_items
from governance.resubmission.resubmission import UNCHANGED, resubmit
from governance.resubmission.starts import Start
from releases.models import Release
from releases.pointer import open_or_replaced
from releases.states import Status
from tenancy.access import actor
from tenancy.audit.acts import Act
from tenancy.console.base import ReadOnlyAdmin, serves
from tenancy.roles import Scope

LONGEST_KEY = 200
STARTS = (
    (Start.INPUT.value, "with the input, at the first step"),
    (Start.CHECKPOINT.value, "with the checkpoint, at the step after it"),
)
"""For each execution. One with failed items may also start with them."""


class ResubmitForm(forms.Form):
    """An empty release means the active one. An empty input means that of the old execution."""

    release = forms.ChoiceField(label="Release", required=False, widget=UnfoldAdminSelectWidget)
    input = forms.CharField(
        label="Input",
        required=False,
        strip=False,
        help_text="JSON. If it is empty or unchanged, the input of the old execution is used.",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 12, "spellcheck": "false", "class": "dc-draft"}),
    )
    start_from = forms.ChoiceField(
        label="Start",
        required=False,
        choices=STARTS,
        help_text="A start at a later point is possible only if it is proven that the release can continue from there.",
        widget=UnfoldAdminSelectWidget,
    )
    reason = forms.CharField(
        required=False,
        max_length=LONGEST_REASON,
        label="Reason",
        help_text="Optional. It is stored permanently in the history of both executions.",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
    )
    allow_replaced = forms.BooleanField(required=False)
    operation_key = forms.CharField(max_length=LONGEST_KEY, widget=forms.HiddenInput)
    expected_version = forms.IntegerField(min_value=0, max_value=HIGHEST_VERSION, widget=forms.HiddenInput)

    def __init__(self, execution: Execution, data: Any = None, start_from: str | None = None) -> None:
        text = json.dumps(execution.input, indent=2, ensure_ascii=False)
        initial = {
            "input": text if len(text) <= JSON_SHOWN else "",
            "operation_key": str(uuid.uuid4()),
            "expected_version": execution.version,
            "start_from": start_from,
        }
        super().__init__(data, initial=initial)
        field = self.fields["release"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - declared above
        field.choices = _releases(execution)
        rows = failed_items.of_execution(execution)
        if rows:
            starts = self.fields["start_from"]
            assert isinstance(starts, forms.ChoiceField)  # noqa: S101 - declared above
            label = f"with the {rows[0].failed:,} failed items, at {execution.step_at(rows[0].step_index).title}"
            starts.choices = [*STARTS, (Start.ITEMS.value, label)]


@serves("<uuid:object_id>/resubmit/", Act.EXECUTION_RESUBMIT, Scope.OPERATE, Scope.SUBMIT)
def show(pages: ReadOnlyAdmin, request: HttpRequest, execution: Execution) -> HttpResponse:
    """Show the form on GET, and resubmit on POST. It is an operator's request that creates an execution."""

    def act(typed: dict[str, Any]) -> tuple[str, Any]:
        text = typed["input"]
        new = resubmit(
            execution.tenant,
            execution.pk,
            actor=actor(request.user),
            reason=typed["reason"],
            release_version=typed["release"] or None,
            input=typed_value(text, field="input") if text.strip() else UNCHANGED,
            start_from=Start(typed["start_from"] or Start.INPUT),
            expected_version=typed["expected_version"],
            operation_key=typed["operation_key"],
            allow_replaced=typed["allow_replaced"],
        )
        return f"The execution is queued on release {new.release_version}.", new.pk

    state, replaced = State(execution.status), replacement_with_release(execution)
    return form_page(
        pages,
        request,
        "executions/resubmit.html",
        ResubmitForm(execution, request.POST if request.method == "POST" else None, request.GET.get("start_from")),
        act,
        refusal="" if state in TERMINAL else f"It is {state}. It must end before it can be resubmitted.",
        title="Resubmit an execution",
        original=execution,
        execution=execution,
        replacement=replaced if state in TERMINAL else None,
    )


def _releases(execution: Execution) -> list[tuple[str, str]]:
    """Return the active release, and those that were active before, are registered and have an eligible worker."""
    activation = execution.release.pipeline.activation
    active = activation.release.release_version if activation else None
    pipeline = execution.release.pipeline_id
    hosted = WorkerEligibility.objects.filter(WorkerEligibility.ADMITTING, release__pipeline=pipeline)
    rows = Release.objects.filter(pk__in=hosted.values("release"), status=Status.REGISTERED)
    versions = open_or_replaced(rows).order_by("-pk").values_list("release_version", flat=True)
    failed_there = ", and it failed there" if execution.release_version == active and execution.error_code else ""
    return [
        ("", f"{active} (active{failed_there})" if active else "The active release (none is active now)"),
        *((version, version) for version in versions if version != active),
    ]
