import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from executions.lifecycle import sweep
from executions.models import Execution, StepReport
from executions.state_machine.moves import Claim
from executions.step_reports import step_reports
from executions.transports.celery import command_of
from executions.workers.registry import take_heartbeat
from releases.models import Release
from releases.policy import change
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.raw_sql import unchanged
from wire.messages import celery_messages as messages
from wire.messages.step_reports import LONGEST_LINE, LONGEST_TOGETHER, MOST_LINES, StepLine

pytestmark = pytest.mark.usefixtures("retries")
LINE: StepLine = (1_800_000_000_000, "INFO", 0, 3, "rows\x00 4")


@pytest.fixture
def said(release: Release) -> Any:
    """Send a heartbeat of a worker that holds the lease of a claim, with a report."""
    seconds = iter(range(1, 100))

    def send(claim: Claim, token: uuid.UUID | None = None, **members: Any) -> None:
        lease = {"execution_id": claim.execution_id, "lease_token": claim.lease_token}
        key = command_of(claim).transition_key
        report = messages.LeaseReport(**{**lease, "transition_key": key, **members})
        if token is not None:
            report = report.model_copy(update={"lease_token": token})
        held = messages.HeldLease(**lease, seconds=1)
        beat = messages.Heartbeat(worker_id="w", state="HEALTHY", capacity=1, running=[held], reports=[report])
        sent = timezone.now() - timedelta(minutes=1) + timedelta(seconds=next(seconds))
        take_heartbeat(release.pipeline.tenant, release.identity, beat, sent)

    return send


def test_a_heartbeat_stores_what_steps_report(owner: Tenant, execution: Execution, claim: Claim, said: Any) -> None:
    assert command_of(claim).last_heartbeat == ""
    said(claim, done=1, total=4, message="row 1", lines=[LINE], details='[0,null,{"row":1}]')
    said(claim, done=2, total=4, message="row 2", lines=[LINE, LINE])
    [report] = StepReport.objects.all()
    assert (report.done, report.total, report.message, report.rest) == (2, 4, "row 2", 2)
    assert (report.details, len(report.lines)) == ([0, None, {"row": 1}], 2), "details stay until there are new ones"

    making.record(making.failure(claim))
    Execution.objects.update(next_due_at=making.LONG_AGO)
    [again] = making.claimed(owner)
    assert command_of(again).last_heartbeat == '[0, null, {"row": 1}]'
    making.record(making.outcome_of(again, report=messages.StepReport(lines=[(*LINE[:-1], "second")])))
    execution.refresh_from_db()
    shown = [(line.attempt, line.item, line.text) for line in step_reports.lines_of(execution)]
    assert shown == [(0, 3, "rows\N{REPLACEMENT CHARACTER} 4")] * 2 + [(1, 3, "second")]


def test_a_killed_worker_leaves_only_its_report(owner: Tenant, execution: Execution, claim: Claim, said: Any) -> None:
    said(claim, lines=[LINE], details='[0,0,"half"]')
    Execution.objects.update(lease_expires_at=making.LONG_AGO)
    sweep.expire_leases()
    with unchanged(StepReport):
        said(claim, done=9)
        said(claim, token=uuid.uuid4(), done=9)
    [again] = making.claimed(owner)
    assert (again.attempt, command_of(again).last_heartbeat) == (0, '[0, 0, "half"]')
    execution.refresh_from_db()
    assert [line.text[:4] for line in step_reports.lines_of(execution)] == ["rows"]


@cases(("setting", "policy"), [(True, True), (False, True), (True, False)])
def test_an_outcome_whose_report_cannot_be_stored_counts_and_lines_are_kept_if_setting_and_policy_say_so(
    execution: Execution, claim: Claim, settings: Any, setting: bool, policy: bool
) -> None:
    settings.KEEP_STEP_LINES = setting
    change(execution.release.pipeline, {"keepLogs": policy}, actor="eva")
    report = messages.StepReport(total=3, details='["\\u0000"', lines=[LINE], message="x\x00")
    assert making.record(making.outcome_of(claim, report=report)) == 1
    [stored] = StepReport.objects.all()
    assert (stored.done, stored.total, stored.details, len(stored.lines)) == (None, None, None, setting and policy)


def test_lines_beyond_limits_or_of_a_wrong_clock_are_bounded_and_shown(execution: Execution, claim: Claim) -> None:
    wrong: StepLine = (2**53 - 1, "INFO", 2**31 - 1, None, "x" * LONGEST_LINE)
    outcome = making.outcome_of(claim, report=messages.StepReport(lines=[wrong] * MOST_LINES))
    making.record(outcome.model_copy(update={"transition_key": "of no attempt"}))
    execution.refresh_from_db()
    shown = step_reports.lines_of(execution)
    assert len(shown) == LONGEST_TOGETHER // LONGEST_LINE
    assert {(line.at.year, line.step_name, line.attempt) for line in shown} == {(9000, "", 0)}


def test_an_execution_whose_steps_report_nothing_has_no_row(execution: Execution, claim: Claim) -> None:
    making.record(making.outcome_of(claim))
    assert (StepReport.objects.count(), making.reread(execution).reported) == (0, None)
