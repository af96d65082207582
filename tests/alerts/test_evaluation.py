from datetime import timedelta
from typing import Any

import pytest
from django.urls import resolve
from django.utils import timezone

from alerts import evaluation, rules
from alerts.conditions import CONDITIONS, MOST_FOUND, Look
from alerts.evaluation import AlertIsResolved
from alerts.kinds import Kind
from alerts.models import Alert, AlertEvent, AlertRule
from alerts.recoveries import recovery_path
from executions.holds import holds
from executions.models import FailureGroup, FinishedCount, Interaction, Schedule, Worker
from executions.schedules import backfills, firing, schedules
from governance.requests.requests import Decision
from releases.artifacts import blobs
from releases.models import Blob, Release
from tenancy.models import Tenant
from tests import making, requesting
from tests.alerts.alerting import ACTOR, acknowledge, channel, end_condition, fired, judged, let_clear, rule, states
from tests.cases import cases
from tests.executions import moments
from tests.executions.awaits.parking import suspended
from tests.executions.submission.continuing import order
from tests.raw_sql import raised, run, unguarded

pytestmark = pytest.mark.django_db
Ready = tuple[Tenant, Release]


def reopen(owner: Tenant) -> None:
    FailureGroup.objects.filter(tenant=owner).update(acknowledged_by="", acknowledged_at=None)


def test_an_alert_fires_once_is_resolved_after_a_minute_and_fires_again(ready: Ready) -> None:
    owner, _ = ready
    theirs = rule(making.ready()[0])
    alert = fired(owner, channel(owner), channel(owner, name="closed", enabled=False))
    assert judged(theirs) == []
    assert states(alert) == [("FIRING", "PENDING")]
    assert judged(alert.rule) == [("FIRING", f"{making.PIPELINE} fails with SomeError")]
    for change, is_clear in ((acknowledge, True), (reopen, False), (acknowledge, True)):
        change(owner)
        judged(alert.rule)
        assert (making.reread(alert).state, alert.clear_since is not None) == ("FIRING", is_clear)
    let_clear(alert)
    assert [state for state, _ in judged(alert.rule)] == ["RESOLVED"]
    assert states(alert) == [("FIRING", "PENDING"), ("RESOLVED", "PENDING")]
    assert list(alert.events.values_list("kind", "actor")) == [("FIRED", "coordinator"), ("RESOLVED", "coordinator")]
    reopen(owner)
    assert [state for state, _ in judged(alert.rule)] == ["FIRING", "RESOLVED"]


def test_no_alert_is_resolved_while_the_list_of_findings_is_cut(owner: Tenant) -> None:
    alert = fired(owner)
    end_condition(alert)
    for number in range(MOST_FOUND):
        making.dead(owner, f"k{number}", code=f"C{number}")
    judged(alert.rule)
    assert (making.reread(alert).state, alert.clear_since) == ("FIRING", None)


@cases("end", ["disable", "remove"])
def test_the_alerts_of_a_rule_that_is_disabled_or_removed_are_resolved(owner: Tenant, end: str) -> None:
    alert = fired(owner, channel(owner))
    made = rules.rule_of(owner, alert.rule_id)
    if end == "disable":
        rules.change(made, actor=ACTOR, enabled=False)
    else:
        rules.remove(made, actor=ACTOR)
    assert evaluation.evaluate() == 1
    assert making.reread(alert).state == "RESOLVED"
    assert states(alert)[-1] == ("RESOLVED", "PENDING")
    assert evaluation.evaluate() == 0


def test_a_silenced_rule_tells_nobody_until_its_silence_ends(owner: Tenant) -> None:
    later = timezone.now() + timedelta(hours=1)
    alert = fired(owner, channel(owner), silenced_until=later)
    assert (alert.state, states(alert)) == ("FIRING", [])
    rules.change(rules.rule_of(owner, alert.rule_id), actor=ACTOR, silenced_until=None)
    judged(alert.rule)
    assert states(alert) == [("FIRING", "PENDING")]


def test_an_alert_without_a_first_message_ends_without_a_message(owner: Tenant) -> None:
    alert = fired(owner, channel(owner), silenced_until=timezone.now() + timedelta(hours=1))
    end_condition(alert)
    rules.change(rules.rule_of(owner, alert.rule_id), actor=ACTOR, silenced_until=None)
    assert [state for state, _ in judged(alert.rule)] == ["RESOLVED"]
    assert states(alert) == []


def test_a_silenced_alert_is_resolved_without_a_message(owner: Tenant) -> None:
    alert = fired(owner, channel(owner))
    hour = timezone.now() + timedelta(hours=1)
    for until in (hour, None, hour):
        evaluation.silence(alert, until=until, actor=ACTOR)
        assert (alert.silenced_until, alert.silenced_by) == (until, ACTOR if until else "")
    end_condition(alert)
    judged(alert.rule)
    assert states(alert) == [("FIRING", "PENDING")]
    kinds = ["FIRED", "SILENCED", "UNSILENCED", "SILENCED", "RESOLVED"]
    assert list(alert.events.values_list("kind", flat=True)) == kinds
    raised(AlertIsResolved, evaluation.silence, alert, until=None, actor=ACTOR)


def test_one_broken_rule_does_not_stop_the_others(owner: Tenant) -> None:
    broken = rule(owner, "stranded", name="broken")
    type(broken).objects.filter(pk=broken.pk).update(thresholds={"minutes": 10**15})
    made = rule(owner)
    making.dead(owner, "dead")
    assert evaluation.evaluate() == 1
    assert Alert.objects.get().rule == made


@cases(("days", "removed"), [(None, 0), (29, 0), (31, 1)])
def test_a_resolved_alert_goes_after_its_days(owner: Tenant, settings: Any, days: int | None, removed: int) -> None:
    settings.ALERT_RETENTION_DAYS, settings.SWEEP_LIMIT = 30, 2
    alert = fired(owner, channel(owner))
    with unguarded(Alert):
        run("UPDATE alerts_alert SET started_at = now() - interval '9 years' WHERE id = %s", alert.pk)
    if days is not None:
        end_condition(alert)
        judged(alert.rule)
        with unguarded(Alert):
            run("UPDATE alerts_alert SET resolved_at = now() - make_interval(days => %s)", days)
    assert evaluation.remove_old(seconds=5) == removed
    assert Alert.objects.count() == 1 - removed
    assert AlertEvent.objects.exists() is (not removed)


def subjects(made: AlertRule) -> list[str]:
    """Return what the rule finds now, as the texts before the keys. Each finding has a page."""
    findings = CONDITIONS[Kind(made.kind)](Look(made))
    assert all(resolve(finding.path.partition("?")[0]).namespace == "admin" for finding in findings)
    return [finding.subject.rpartition(":")[0] for finding in findings]


def finished(release: Release, succeeded: int, failed: int, minutes_ago: int = 1) -> None:
    minute = timezone.now().replace(second=0, microsecond=0) - timedelta(minutes=minutes_ago)
    counts = {"succeeded": succeeded, "failed": failed, "cancelled": 0}
    FinishedCount.objects.filter(release=release).delete()
    FinishedCount.objects.create(release=release, minute=minute, **counts)


def test_a_failure_rate_fires_at_its_threshold_and_ends_at_four_fifths(ready: Ready) -> None:
    owner, release = ready
    made = rule(owner, "failureRate", thresholds={"percent": 50, "minutes": 5, "minimum": 10})
    for succeeded, failed, minutes_ago in ((5, 4, 1), (6, 5, 1), (0, 100, 7)):
        finished(release, succeeded, failed, minutes_ago)
        assert judged(made) == []
    finished(release, 5, 5)
    assert judged(made) == [("FIRING", f"50 % of the executions of {making.PIPELINE} fail")]
    finished(release, 60, 40)
    judged(made)
    assert made.alerts.get().clear_since is None
    assert recovery_path(made.alerts.get()) == f"/admin/releases/release/{release.pk}/recovery/"
    finished(release, 61, 39)
    judged(made)
    let_clear(made.alerts.get())
    assert [state for state, _ in judged(made)] == ["RESOLVED"]
    finished(release, 100, 0)
    finished(making.active(owner, pipeline_id="org.example.other"), 0, 100)
    assert subjects(rule(owner, "failureRate", name="here", pipeline=release.pipeline)) == []
    assert subjects(rule(owner, "failureRate", name="all")) == ["pipeline"]


def test_stranded_work(owner: Tenant) -> None:
    making.execution(owner)
    made = rule(owner, "stranded", thresholds={"minutes": 5})
    assert subjects(made) == []
    making.silence(*Worker.objects.filter(tenant=owner), since=timezone.now() - timedelta(minutes=4))
    assert subjects(made) == []
    run("UPDATE executions_execution SET next_due_at = now() - interval '6 minutes' WHERE tenant_id = %s", owner.pk)
    making.silence(*Worker.objects.filter(tenant=owner), since=timezone.now() - timedelta(minutes=6))
    [finding] = CONDITIONS[Kind.STRANDED](Look(made))
    assert finding.title == f"No worker may run 1 execution of {making.PIPELINE} 1.0"
    assert finding.detail.endswith("orders@1.0")
    other = making.active(owner, pipeline_id="org.example.other").pipeline
    assert subjects(rule(owner, "stranded", name="other", pipeline=other)) == []


COPIES = """
INSERT INTO executions_interaction SELECT (jsonb_populate_record(i, jsonb_build_object(
    'id', gen_random_uuid(), 'item_index', n, 'correlation_id', n::text))).*
FROM executions_interaction i JOIN executions_execution e ON e.id = i.execution_id, generate_series(1, 1001) n
WHERE e.execution_key = 'many'
"""


def test_questions_near_their_deadline() -> None:
    ready = making.ready(schemaVersion=2, canonicalTypes=order("n"))
    waits = suspended(ready, "k", timeout_seconds=3600.0)
    made = rule(ready[0], "awaitDeadline", thresholds={"minutes": 59})
    assert subjects(made) == []
    [finding] = CONDITIONS[Kind.AWAIT_DEADLINE](Look(rule(ready[0], "awaitDeadline", name="near")))
    assert finding.title == f"1 open question of Validate in {making.PIPELINE} near the deadline"
    making.ready(ready[0], pipeline_id="org.example.b")
    making.execution(ready[0], "many", pipeline_id="org.example.b")
    making.record(*(making.suspension(claim, timeout_seconds=60.0) for claim in making.claimed(ready[0])))
    with unguarded(Interaction):
        run(COPIES)
    made = rule(ready[0], "awaitDeadline", name="ours", pipeline=ready[1].pipeline)
    assert CONDITIONS[Kind.AWAIT_DEADLINE](Look(made)) == [finding]
    for transport in ("timer", "pipeline"):
        suspended(ready, transport, transport=transport, timeout_seconds=60.0)
    assert CONDITIONS[Kind.AWAIT_DEADLINE](Look(made)) == [finding]
    for target in (waits, ready[1]):
        holds.pause(target, actor="user:eva", reason="a holiday")
        assert CONDITIONS[Kind.AWAIT_DEADLINE](Look(made)) == []
        holds.resume(target, actor="user:eva")


def test_damaged_artifacts(ready: Ready) -> None:
    owner, release = ready
    made = rule(owner, "blobDamaged")
    assert subjects(made) == []
    digest = release.artifacts.get().digest
    blobs.record_unsound(digest, Blob.State.DAMAGED)
    assert subjects(made) == ["release"]
    blobs.record_sound(digest, size=Blob.objects.get(pk=digest).size, fingerprint="f")
    assert subjects(made) == []


def test_lost_workers(ready: Ready) -> None:
    owner, release = ready
    worker = Worker.objects.get(tenant=owner)
    made = rule(owner, "workerLost", thresholds={"minutes": 5})
    for minutes, expected in ((0, []), (5, []), (6, ["worker"]), (60 * 24 + 7, [])):
        making.silence(worker, since=timezone.now() - timedelta(minutes=minutes))
        assert subjects(made) == expected, minutes
    making.silence(worker)
    assert subjects(made) == ["worker"]
    Worker.objects.filter(pk=worker.pk).update(stopped_at=timezone.now())
    assert subjects(made) == []
    many = [making.worker(release, f"lost-{number}") for number in range(MOST_FOUND + 1)]
    making.silence(*many[1:])
    assert [state for state, _ in judged(made)] == ["FIRING"] * MOST_FOUND
    making.silence(many[0], since=timezone.now() - timedelta(minutes=6))
    judged(made)
    assert not made.alerts.filter(clear_since__isnull=False).exists(), "a list that is cut resolves nothing"


def test_times_of_a_schedule_that_were_refused_or_missed(ready: Ready) -> None:
    owner, release = ready
    made = rule(owner, "scheduleFailed", thresholds={"minutes": 60})
    twice = rule(owner, "scheduleFailed", name="twice", thresholds={"minimum": 3})
    schedule = making.scheduled(owner, cron="* * * * *", overlap="queue", catch_up_minutes=1)
    half_an_hour_ago = moments.now().replace(second=0, microsecond=0) - timedelta(minutes=30)
    Schedule.objects.filter(pk=schedule.pk).update(next_at=half_an_hour_ago)
    holds.pause(release.pipeline, actor=ACTOR, reason="broken", refuses_submissions=True)
    firing.fire()
    assert subjects(made) == ["schedule"]
    [finding] = CONDITIONS[Kind.SCHEDULE_FAILED](Look(made))
    assert finding.title == f"Times of the schedule nightly of {making.PIPELINE} were refused or missed"
    assert finding.detail.startswith("2 within 60 minutes: PIPELINE_PAUSED, TOO_LATE. The last one was ")
    theirs = rule(making.tenant(), "scheduleFailed")
    other = making.active(owner, pipeline_id="org.example.other").pipeline
    elsewhere = rule(owner, "scheduleFailed", name="elsewhere", pipeline=other)
    assert subjects(twice) == subjects(theirs) == subjects(elsewhere) == []
    schedules.pause(schedule, actor=ACTOR)
    assert subjects(made) == []
    schedules.resume(schedule, actor=ACTOR)
    holds.resume(release.pipeline, actor=ACTOR)
    backfills.backfill(schedule, half_an_hour_ago, moments.now(), actor=ACTOR)
    firing.fire()
    firing.fire()
    assert subjects(made) == []


def test_requests_that_want_votes() -> None:
    request = requesting.open_request(requesting.candidate(approvals=1))
    owner = request.pipeline.tenant
    made = rule(owner, "approvalWanted")
    assert subjects(made) == ["request"]
    assert subjects(rule(owner, "approvalWanted", name="later", thresholds={"minutes": 5})) == []
    requesting.voted(request, decision=Decision.REFUSE)
    assert subjects(made) == []
