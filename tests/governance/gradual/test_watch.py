from typing import Any

import pytest

from executions.holds import holds
from executions.models import AwaitUnit
from governance.gradual import changes
from governance.gradual.changes import start
from governance.gradual.evidence import compare, evidence
from governance.gradual.measured import describe, watch, watch_one
from governance.gradual.plan import Bounds
from governance.resubmission.resubmission import resubmit
from governance.tasks import watch_gradual
from releases.models import Activation, GradualActivation, Pipeline
from tenancy.models import AuditEntry, Tenant
from tests import gradual, making
from tests.cases import cases
from tests.governance.activation.test_gradual import newest
from tests.raw_sql import run, unguarded

pytestmark = pytest.mark.django_db

Cause = GradualActivation.Cause
FAST, SLOW = [1.0 + n / 100 for n in range(30)], [3.0 + n / 100 for n in range(30)]


def standing(made: GradualActivation) -> tuple[str, int, str | None]:
    now = gradual.again(made)
    return now.status, now.step, now.cause


def test_a_candidate_that_fails_more_often_is_withdrawn(owner: Tenant) -> None:
    made = gradual.started(owner, 5, 50)
    gradual.ended(made.baseline, succeeded=FAST * 4, failed=1)
    gradual.ended(made.candidate, succeeded=FAST[:15], failed=15)
    assert watch() == 1
    assert standing(made) == ("WITHDRAWN", 0, "failures")
    now, last = gradual.again(made), newest(owner)
    assert last.reason.startswith("15 of 30 executions of the candidate failed, and 1 of 121 of the active release")
    assert (now.ended_by, now.end_reason) == ("coordinator", last.reason)
    assert (last.kind, last.actor) == ("withdrawal", "coordinator")
    entry = AuditEntry.objects.order_by("-pk")[0]
    assert (entry.act, entry.actor) == ("gradual_activation.withdraw", "coordinator")
    assert watch() == 0


def test_a_good_candidate_moves_on_step_by_step_and_stays_at_the_last_one(owner: Tenant) -> None:
    made = gradual.started(owner, 5, 50, 100)
    gradual.ended(made.baseline, succeeded=FAST)
    for step in (1, 2, 2):
        gradual.ended(made.candidate, succeeded=FAST[:20])
        watch_gradual()
        assert standing(made) == ("RUNNING", step, None)
        assert watch() == 0, "executions of an earlier step do not count for the next one"
    kinds = Activation.objects.order_by("sequence").values_list("kind", "actor")
    assert list(kinds)[1:] == [("gradual", "user:test"), ("gradual", "coordinator"), ("gradual", "coordinator")]


def test_a_step_waits_while_the_policy_requires_approvals(owner: Tenant) -> None:
    made = gradual.started(owner, 5, 100)
    gradual.ended(made.candidate, succeeded=FAST)
    for approvals, changed in ((1, 0), (0, 1)):
        Pipeline.objects.update(approvals=approvals)
        assert watch() == changed
        assert standing(made)[1] == changed
    assert not AuditEntry.objects.filter(outcome="denied").exists()


@cases(("sample", "minutes"), [(31, 0), (20, 1)])
def test_a_step_needs_its_minimum_sample_and_its_minimum_time(owner: Tenant, sample: int, minutes: int) -> None:
    made = gradual.started(owner, 5, 50, sample=sample, minutes=minutes)
    gradual.ended(made.candidate, succeeded=FAST)
    assert watch() == 0
    if minutes:
        with unguarded(GradualActivation):
            run("UPDATE releases_gradualactivation SET step_started_at = now() - interval '61 seconds'")
        assert watch() == 1


def test_what_does_not_count(owner: Tenant) -> None:
    candidate = gradual.candidate(owner)
    gradual.ended(candidate, failed=30)
    made = start(candidate, gradual.plan(50, sample=20), actor="user:test")
    gradual.ended(made.candidate, failed=30, status="CANCELLED")
    for number in range(30):
        making.submitted(owner, f"open-{number}")
    [failed] = gradual.ended(made.candidate, failed=1)
    resubmit(owner, failed.pk, actor="user:ann", reason="again", release_version="2.0")
    assert evidence(made).candidate.ended == 1
    gradual.ended(made.candidate, failed=2, status="DLQ")
    assert (evidence(made).candidate.ended, evidence(made).candidate.failed) == (3, 3)


def test_durations_with_awaits_and_pauses_do_not_count(owner: Tenant) -> None:
    made = gradual.started(owner, 50)
    [asked, *_] = gradual.ended(made.candidate, succeeded=FAST[:5])
    unit = {"step_id": "s", "step_index": 0, "itemized": False, "gives_many": False, "expected_items": 1}
    with unguarded(AwaitUnit):
        AwaitUnit.objects.create(tenant=owner, execution=asked, **unit)
    assert evidence(made).candidate.timed == 4
    holds.pause(made.candidate, actor="user:ann", reason="look")
    assert (evidence(made).candidate.timed, evidence(made).candidate.ended) == (0, 5)
    holds.resume(made.candidate, actor="user:ann", reason="")
    assert evidence(made).candidate.timed == 0
    gradual.ended(made.candidate, succeeded=FAST[:2], age_seconds=-60)
    assert evidence(made).candidate.timed == 2


def test_a_watch_that_comes_late_changes_nothing(owner: Tenant) -> None:
    made = gradual.started(owner, 5, 50, 100)
    gradual.ended(made.candidate, succeeded=FAST)
    late = gradual.again(made)
    changes.move_on(made, actor="user:ann")
    assert watch_one(late) is False
    assert standing(made)[1] == 1
    late = gradual.again(made)
    gradual.ended(made.baseline, succeeded=FAST * 4)
    gradual.ended(made.candidate, failed=30)
    changes.promote(made, actor="user:ann", reason="urgent")
    assert watch_one(late) is False
    assert standing(made) == ("PROMOTED", 1, "person")


def sample(ended: int, failed: int, seconds: float | None = None) -> list[tuple[bool, float | None]]:
    return [(number < failed, None if number < failed else seconds) for number in range(ended)]


@cases(
    ("candidate", "baseline", "crossed"),
    (sample(100, 20), sample(1000, 10), Cause.FAILURES),
    (sample(1000, 40), sample(1000, 5), None),  # significant, but within 5 percentage points
    (sample(50, 4), sample(50, 0), None),  # 8 points, p = 0.06
    (sample(49, 49), sample(1000, 0), None),  # the sample is too small
    (sample(50, 0, 2.0), sample(50, 0, 1.0), Cause.DURATION),
    (sample(50, 0, 1.4), sample(50, 0, 1.0), None),  # significant, but within the factor
    (sample(50, 0, 1.0), sample(50, 0, 2.0), None),
    (sample(100, 50, 2.0), sample(100, 0, 1.0), Cause.FAILURES),  # both
)
def test_a_bound_is_crossed_by_a_significant_difference(candidate: Any, baseline: Any, crossed: Cause | None) -> None:
    comparison = compare(candidate, baseline, minimum=50, bounds=Bounds())
    assert comparison.crossed == crossed
    if crossed is not None:
        assert "p = " in describe(comparison)
