import uuid
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from executions.errors import CampaignRefused
from executions.holds import holds
from executions.lifecycle.interventions import cancel, redrive
from executions.models import Campaign, CampaignItem, Execution, Resubmission, Worker
from governance.activation.activation import activate
from governance.campaigns import campaigns, drafts
from governance.campaigns.admitting import Results, credit_of, results_of
from governance.campaigns.resubmitting import waiting
from governance.campaigns.selection import Filters
from governance.resubmission.resubmission import resubmit
from governance.retirement.retirement import revoke
from governance.tasks import sweep
from tenancy.models import AuditEntry, Tenant
from tests import making
from tests.cases import cases
from tests.deaths import assert_all_or_nothing
from tests.governance.campaigns.campaigning import advance, codes, events, pass_time, progress, record, start
from tests.gradual import candidate
from tests.raw_sql import raised, unchanged, unguarded

pytestmark = pytest.mark.django_db


def test_items_are_admitted_at_the_rate_and_the_last_one_completes_it(owner: Tenant, dead: list[Execution]) -> None:
    made = start(owner, rate=60)
    drafts.freeze(owner, Campaign.Kind.REDRIVE, Execution.objects.all(), actor="user:ann")  # its items stay pending
    for seconds, count in ((0, 0), (3.9, 3), (0, 0), (0.1, 1)):
        assert advance(seconds) == count
    assert progress(made) == (6, 4, 0)
    assert (advance(), progress(made)) == (6, (0, 10, 0))
    assert (making.reread(made).status, made.finished_at is not None) == ("COMPLETED", True)
    assert events(made) == [("STARTED", "user:ann"), ("COMPLETED", "coordinator")]
    with unchanged():
        assert campaigns.advance() == 0
    for execution in dead:
        assert making.history(execution)[-1] == ("REDRIVEN", "QUEUED")
        event = execution.events.get(kind="REDRIVEN")
        assert event.actor == "user:ann"
        assert (event.data["reason"], event.data["campaignId"]) == ("the bank is back", str(made.pk))
        assert (execution.attempt, execution.budget_start, execution.release_version) == (1, 1, "1.0")
        assert execution.last_transition_key == f"redrive:{execution.pk}:2"
    assert {claim.execution_id for claim in making.claimed(owner)} == {execution.pk for execution in dead}


def test_a_sweep_advances_a_campaign_in_groups_until_its_credit_is_used_up(owner: Tenant, settings: Any) -> None:
    settings.SWEEP_LIMIT = 4
    made = start(owner)
    pass_time(60)
    sweep()
    assert progress(made) == (0, 10, 0)


def test_an_outage_accumulates_a_minute_of_credit_or_the_time_between_two_sweeps(owner: Tenant, settings: Any) -> None:
    made = start(owner, rate=2)
    assert advance(30) == 1
    assert (advance(24 * 3600), progress(made)) == (2, (7, 3, 0))
    assert campaigns.advance() == 0
    assert (advance(30), progress(made)) == (1, (6, 4, 0))
    settings.SWEEP_SECONDS = 120
    assert advance(120) == 4


def test_the_oldest_running_campaign_is_first_and_a_paused_one_takes_no_place(owner: Tenant, settings: Any) -> None:
    settings.SWEEP_LIMIT = 1
    made = [start(owner) for _ in range(3)]
    with unguarded(Campaign):
        for minute, campaign in enumerate(made):
            Campaign.objects.filter(pk=campaign.pk).update(created_at=datetime(2026, 1, 1, 0, minute, tzinfo=UTC))
    campaigns.pause(owner, made[0].pk, actor="")
    assert advance(1) == 1
    assert [progress(campaign)[1] for campaign in made] == [0, 1, 0]


def test_a_pause_accumulates_no_credit(owner: Tenant) -> None:
    made = start(owner, rate=60)
    assert advance(2) == 2
    campaigns.pause(owner, made.pk, actor="user:bob", reason="the bank is down again")
    assert (advance(60), progress(made)) == (0, (8, 2, 0))
    assert credit_of(made.pk) == (None, 0), "it may have been paused after the sweep found it"
    campaigns.resume(owner, made.pk, actor="user:bob")
    assert (campaigns.advance(), progress(made)) == (0, (8, 2, 0))
    assert (advance(2), progress(made)) == (2, (6, 4, 0))
    assert events(made) == [("STARTED", "user:ann"), ("PAUSED", "user:bob"), ("RESUMED", "user:bob")]
    assert made.events.get(kind="PAUSED").data == {"reason": "the bank is down again"}


def test_executions_that_failed_first_are_redriven_first(quiet: Tenant) -> None:
    [_, oldest, _] = sorted(making.dead(quiet, *"abc"), key=lambda execution: execution.pk)
    making.finished(datetime(2026, 1, 1, tzinfo=UTC), oldest)
    made = start(quiet)
    assert campaigns.items(made)[0].execution == oldest
    assert advance(1) == 1
    assert made.items.get(outcome="REDRIVEN").execution == oldest


def test_items_that_have_changed_are_skipped_with_a_reason(owner: Tenant, dead: list[Execution]) -> None:
    def changed_rows() -> list[Any]:
        return list(Execution.objects.filter(pk__in=[execution.pk for execution in dead[:3]]).order_by("pk").values())

    by_hand, failed_again, done, *_ = dead
    made = start(owner)
    for execution in (failed_again, done):
        redrive(owner, execution.pk, actor="", reason="")
    for claim in making.claimed(owner):
        again = claim.execution_id == failed_again.pk
        record(making.failure(claim) if again else making.outcome_of(claim))
    redrive(owner, by_hand.pk, actor="", reason="")
    before = changed_rows()
    assert (advance(3), progress(made)) == (0, (7, 0, 3)), "skipped items count against the rate"
    assert (campaigns.advance(), advance(), progress(made)) == (0, 7, (0, 7, 3))
    refused = {by_hand.pk: "REDRIVE_REFUSED", failed_again.pk: "VERSION_MISMATCH", done.pk: "REDRIVE_REFUSED"}
    assert codes(made) == refused
    assert not made.items.filter(at=None).exists()
    assert changed_rows() == before


def test_items_whose_execution_was_removed_or_may_not_be_redriven_any_more_are_skipped(quiet: Tenant) -> None:
    making.dead(quiet, "failed", "removed", retryable=False)
    made = start(quiet, allow_failed=True)
    with unguarded(Campaign), unguarded(CampaignItem):
        Campaign.objects.update(allow_failed=False)
        CampaignItem.objects.filter(execution__execution_key="removed").update(execution_id=uuid.uuid4())
    assert (advance(), progress(made)) == (0, (0, 0, 2))
    assert set(codes(made).values()) == {"REDRIVE_REFUSED", "EXECUTION_UNKNOWN"}


def let_end(owner: Tenant, *, failures: int = 0, suspended: int = 0) -> None:
    """End all due executions: the first with failures, the next by waiting for an answer, the others with success."""
    for number, claim in enumerate(making.claimed(owner)):
        if number < failures:
            record(making.failure(claim, retryable=False))
        elif number < failures + suspended:
            record(making.suspension(claim))
        else:
            record(making.outcome_of(claim))


def state(campaign: Campaign) -> tuple[str, str, bool]:
    return making.reread(campaign).status, campaign.cause, campaign.canary_over


def test_a_campaign_says_what_became_of_its_executions(owner: Tenant, dead: list[Execution]) -> None:
    made = start(owner)
    assert results_of(made.pk) == Results()
    advance()
    assert results_of(made.pk) == Results(running=10)
    cancel(owner, dead[9].pk, actor="user:ann", reason="")
    let_end(owner, failures=3, suspended=2)
    assert results_of(made.pk) == Results(waiting=2, succeeded=4, failed_again=3, cancelled=1, unaccepted=3)
    assert state(made)[0] == "COMPLETED"
    failed = campaigns.failed_again(campaigns.items(made))
    assert {item.execution.status for item in failed if item.execution} == {"FAILED"}
    assert failed.count() == 3


def test_the_others_follow_when_the_canary_has_ended_without_a_failure(owner: Tenant, dead: list[Execution]) -> None:
    made = start(owner, canary=3)
    assert (advance(), progress(made)) == (3, (7, 3, 0))
    assert (advance(), state(made)) == (0, ("RUNNING", "", False))
    let_end(owner, suspended=1)
    assert (advance(), progress(made), state(made)) == (0, (7, 3, 0), ("RUNNING", "", True))
    assert events(made)[-1] == ("CANARY_PASSED", "coordinator")
    assert (advance(), progress(made)) == (7, (0, 10, 0))
    assert [kind for kind, _ in events(made)] == ["STARTED", "CANARY_PASSED", "COMPLETED"]


def test_a_campaign_pauses_itself_when_its_canary_fails(owner: Tenant, dead: list[Execution]) -> None:
    made = start(owner, canary=3, stop_after_failures=5)
    advance()
    let_end(owner, failures=1)
    assert (advance(), progress(made), state(made)) == (0, (7, 3, 0), ("PAUSED", "canary", False))
    assert events(made)[-1] == ("PAUSED", "coordinator")
    assert made.events.get(kind="PAUSED").data == {"cause": "canary", "failedAgain": 1}
    entry = AuditEntry.objects.latest("pk")
    assert (entry.act, entry.actor, entry.object) == ("campaign.pause", "coordinator", str(made.pk))
    assert advance() == 0
    assert len(events(made)) == 2, "it pauses itself once"
    campaigns.resume(owner, made.pk, actor="user:bob")
    assert (advance(), state(made)) == (7, ("COMPLETED", "", True))


def test_a_campaign_pauses_itself_after_so_many_failures(owner: Tenant, dead: list[Execution]) -> None:
    made = start(owner, stop_after_failures=2)
    assert advance(4) == 4
    let_end(owner, failures=1)
    assert (advance(1), state(made)) == (1, ("RUNNING", "", False))
    let_end(owner, failures=1)
    assert (advance(), state(made)) == (0, ("PAUSED", "failures", False))
    assert made.events.get(kind="PAUSED").data == {"cause": "failures", "failedAgain": 2}
    campaigns.resume(owner, made.pk, actor="user:bob", reason="these two are known")
    assert (advance(1), state(made)) == (1, ("RUNNING", "", False))
    assert made.failures_accepted == 2
    let_end(owner)
    for failed in Execution.objects.filter(status="FAILED"):
        redrive(owner, failed.pk, actor="user:bob", reason="repaired", allow_failed=True)
    let_end(owner, failures=1)  # one of both has failed again, and the other one no longer counts
    assert (advance(1), state(made)) == (1, ("RUNNING", "", False))
    let_end(owner, failures=1)
    assert (advance(), state(made)) == (0, ("PAUSED", "failures", False))
    assert made.failures_accepted == 2
    done = campaigns.cancel(owner, made.pk, actor="user:bob")
    assert (state(made), progress(made), done.finished_at is None) == (("CANCELLED", "", False), (0, 7, 3), False)
    assert (set(codes(made).values()), events(made)[-1]) == ({"CAMPAIGN_CANCELLED"}, ("CANCELLED", "user:bob"))
    with unchanged(CampaignItem, Execution):
        assert advance() == 0


@cases(
    ("operation", "before", "status"),
    ("pause", "RUNNING", "PAUSED"),
    ("pause", "PAUSED", "PAUSED"),
    ("pause", "COMPLETED", None),
    ("resume", "RUNNING", "RUNNING"),
    ("resume", "PAUSED", "RUNNING"),
    ("resume", "CANCELLED", None),
    ("cancel", "PAUSED", "CANCELLED"),
    ("cancel", "CANCELLED", "CANCELLED"),
    ("cancel", "COMPLETED", None),
)
def test_operations_apply_once_or_are_refused(owner: Tenant, operation: str, before: str, status: str | None) -> None:
    made, operate = start(owner), getattr(campaigns, operation)
    if before == "PAUSED":
        campaigns.pause(owner, made.pk, actor="user:test")
    elif before != "RUNNING":
        with unguarded(Campaign):
            Campaign.objects.update(status=before, finished_at=datetime(2026, 1, 1, tzinfo=UTC))
    events_before = events(made)
    if status is None:
        caught = raised(CampaignRefused, operate, owner, made.pk, actor="user:ann")
        assert caught.data == {"campaignStatus": before}
    else:
        assert operate(owner, made.pk, actor="user:ann").status == status
        assert (events(made) == events_before) == (status == before)


RESUBMIT = Campaign.Kind.RESUBMIT
OTHER = "org.example.returns"


def test_items_are_resubmitted_at_the_rate_on_the_active_release(owner: Tenant, dead: list[Execution]) -> None:
    activate(candidate(owner, "1.1"), actor="user:ann")
    made = start(owner, kind=RESUBMIT)
    assert (advance(3.9), progress(made)) == (3, (7, 3, 0))
    pass_time(30)
    assert_all_or_nothing(campaigns.advance)
    assert progress(made) == (0, 10, 0)
    assert Resubmission.objects.count() == Execution.objects.filter(origin__isnull=False).count() == 10
    assert making.reread(made).status == "COMPLETED"
    assert events(made) == [("STARTED", "user:ann"), ("COMPLETED", "coordinator")]
    for item in made.items.select_related("execution", "new_execution"):
        old, new = item.execution, item.new_execution
        assert old
        assert new
        assert (old.status, old.release_version, old.version) == ("DLQ", "1.0", item.expected_version)
        assert (new.status, new.release_version, new.input) == ("QUEUED", "1.1", {"n": 1})
        assert new.execution_key == f"resubmit:{old.pk}:campaign:{made.pk}"
        assert new.events.get().data["campaignId"] == str(made.pk)
        event = old.events.get(kind="RESUBMITTED")
        assert (event.actor, event.data["executionId"]) == ("user:ann", str(new.pk))
    assert len(making.claimed(owner)) == 10


@cases(("target", "versions"), [("1.1", {"1.1": 10}), (None, {"1.0": 4, "1.1": 6})])
def test_the_target_is_named_or_active_at_its_time(owner: Tenant, target: str | None, versions: dict[str, int]) -> None:
    following = making.replaced(candidate(owner, "1.1"))
    made = start(owner, kind=RESUBMIT, target_release_version=target)
    assert advance(4) == 4
    activate(following, actor="user:ann", reason="fixed")
    assert advance() == 6
    new = Execution.objects.filter(origin__campaign=made)
    assert Counter(new.values_list("release_version", flat=True)) == versions


def test_an_item_is_skipped_with_the_reason(owner: Tenant, dead: list[Execution]) -> None:
    by_hand, redriven, *_ = dead
    first = start(owner, kind=RESUBMIT)
    resubmit(owner, by_hand.pk, actor="user:ann", reason="")
    redrive(owner, redriven.pk, actor="user:ann", reason="")
    assert (advance(), progress(first)) == (8, (0, 8, 2))
    assert codes(first) == {by_hand.pk: "EXECUTION_REPLACED", redriven.pk: "RESUBMIT_REFUSED"}


@cases(("version", "code"), [("2.0", "RELEASE_UNKNOWN"), ("1.1", "RELEASE_NOT_ADMITTED"), ("1.2", "INPUT_INVALID")])
def test_an_impossible_target_skips_the_items(owner: Tenant, dead: list[Execution], version: str, code: str) -> None:
    revoke(candidate(owner, "1.1"), actor="user:ann", reason="leaked")
    making.replaced(candidate(owner, "1.2", steps=[{**making.STEP, "cardinality": "MANY_TO_MANY"}]))
    made = start(owner, kind=RESUBMIT, target_release_version=version)
    assert (advance(), progress(made), {*codes(made).values()}) == (0, (0, 0, 10), {code})


@cases(
    ("obstacle", "code"),
    ("pause", "PIPELINE_PAUSED"),
    ("revocation", "ACTIVE_RELEASE_REVOKED"),
    ("silence", "WORKER_UNAVAILABLE"),
    ("no activation", "RELEASE_NOT_OPEN"),
)
def test_waiting_items_let_others_pass(owner: Tenant, dead: list[Execution], obstacle: str, code: str) -> None:
    making.worker(making.active(owner, "1.1", pipeline_id=OTHER), "other")
    making.dead(owner, *"xyz", pipeline_id=OTHER)
    following, release = candidate(owner, "1.1"), dead[0].release
    target = "1.1" if obstacle == "no activation" else None
    made = start(owner, Filters(error_code="SomeError"), rate=2, kind=RESUBMIT, target_release_version=target)
    if obstacle == "pause":
        holds.pause(release.pipeline, actor="user:eva", reason="broken", refuses_submissions=True)
    elif obstacle == "revocation":
        revoke(release, actor="user:ann", reason="leaked")
    elif obstacle == "silence":
        making.silence(*Worker.objects.filter(worker_id="worker-1"))
    assert [(advance(), progress(made)) for _ in range(3)] == [(2, (11, 2, 0)), (1, (10, 3, 0)), (0, (10, 3, 0))]
    assert [(pipeline_id, why.code) for pipeline_id, why in waiting(made).items()] == [(making.PIPELINE, code)]
    if obstacle == "pause":
        holds.resume(release.pipeline, actor="user:eva")
    else:
        activate(following, actor="user:ann")
    assert (advance(), progress(made), waiting(made)) == (2, (8, 5, 0), {})
