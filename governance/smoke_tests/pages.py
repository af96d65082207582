"""Smoke tests: the list, the section on the page of a release, and the form that starts one."""

import uuid
from typing import Any, Final

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from unfold.widgets import UnfoldAdminTextareaWidget

from executions.console.confirmation import form_page
from executions.console.payloads import typed_value
from executions.models import SmokeTest
from foundation.admin.columns import badge, column, on_one_line
from governance.smoke_tests import smoke_tests
from governance.smoke_tests.smoke_tests import ANYTHING, Verdict
from releases.models import Release
from releases.states import Status
from tenancy.access import actor
from tenancy.audit.acts import Act
from tenancy.console.base import ReadOnlyAdmin, serves
from tenancy.console.lists import TenantFilter, text, time
from tenancy.models import validate_identifier
from tenancy.roles import Scope

SHOWN = 20
VERDICTS: Final = {
    Verdict.PENDING.value: ("running", "info"),
    Verdict.PASSED.value: ("passed", "success"),
    Verdict.OTHER_RESULT.value: ("other result", "danger"),
    Verdict.FAILED.value: ("failed", "danger"),
}
"""Each verdict in the words of the pages, with its colour."""


class SmokeTestForm(forms.Form):
    """The input, the result that passes, and the idempotency key of the page."""

    input = forms.CharField(
        strip=False,
        label="Input",
        help_text="JSON. If the first step takes many items, this is an array of them.",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 10, "spellcheck": "false", "class": "dc-draft"}),
    )
    expected_result = forms.CharField(
        strip=False,
        required=False,
        label="Expected result",
        help_text="JSON. If it is empty, any result passes.",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 6, "spellcheck": "false", "class": "dc-draft"}),
    )
    idempotency_key = forms.CharField(max_length=200, validators=[validate_identifier], widget=forms.HiddenInput)


LISTED = (
    "actor",
    "created_at",
    "release__release_version",
    "release__pipeline__pipeline_id",
    "release__pipeline__tenant__slug",
)


@admin.register(SmokeTest)
class SmokeTestAdmin(ReadOnlyAdmin):
    tenant_path = "release__pipeline__tenant"
    list_display = ("key", "state", "pipeline", "release_version", "tenant", "actor", "started")
    list_filter = (TenantFilter,)
    ordering = ("-created_at", "-execution_id")
    list_per_page = 50
    sortable_by = ()
    empty = "Run one on the page of a release, before you activate it."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = smoke_tests.with_verdicts(super().get_queryset(request))
        return rows.select_related(None).select_related("release__pipeline__tenant").only(*LISTED)

    @column("Execution")
    def key(self, test: Any) -> str:
        return str(test.execution_id)

    @badge("Verdict", dict(VERDICTS.values()))
    def state(self, test: Any) -> str:
        return VERDICTS[test.verdict][0]

    pipeline = text("Pipeline", "release.pipeline.pipeline_id")
    release_version = text("Release", "release.release_version")
    tenant = text("Tenant", "release.pipeline.tenant.slug")
    started = time("Started", "created_at")

    def show(self, request: HttpRequest, row: SmokeTest) -> HttpResponse:
        return redirect("admin:executions_execution_change", row.execution_id)

    @serves("release/<int:object_id>/new/", Act.RELEASE_SMOKE_TEST, Scope.ACTIVATE, model=Release)
    def new(self, request: HttpRequest, release: Release) -> HttpResponse:
        """Show the form on GET, and start a smoke test of the release on POST. `self` has the pages of releases."""

        def start(typed: dict[str, str]) -> tuple[str, Any]:
            expected = typed["expected_result"]
            started = smoke_tests.start(
                release,
                actor=actor(request.user),
                input=typed_value(typed["input"], field="input"),
                idempotency_key=typed["idempotency_key"],
                expected_result=typed_value(expected, field="expected_result") if expected.strip() else ANYTHING,
            )
            return f"The smoke test is running on release {release.release_version}.", started.test.execution_id

        sent = request.POST if request.method == "POST" else None
        return form_page(
            self,
            request,
            "executions/smoke_test.html",
            SmokeTestForm(sent, initial={"idempotency_key": str(uuid.uuid4())}),
            start,
            refusal="" if release.status == Status.REGISTERED else f"The release is {release.status}.",
            title="Smoke test a release",
            original=release,
            release=release,
        )


COLUMNS = ("actor", "created_at", "expected_result", "execution__finished_at")
"""What `newest` shows of a smoke test."""


def newest(release: Release) -> dict[str, Any]:
    """Return the newest smoke tests of the release."""
    rows = smoke_tests.of_release(release).select_related(None).select_related("execution").only(*COLUMNS)
    tests = list(rows[: SHOWN + 1])
    lines = [
        {
            "test": test,
            "verdict": VERDICTS[test.verdict][0],
            "variant": VERDICTS[test.verdict][1],
            "expected": "any" if test.expected_result is None else on_one_line({"result": test.expected_result[0]}),
        }
        for test in tests[:SHOWN]
    ]
    return {"lines": lines, "more": len(tests) > SHOWN}
