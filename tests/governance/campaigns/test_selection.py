from datetime import UTC, datetime
from functools import partial

import pytest

from executions.errors import CampaignEmpty, CampaignTargetInvalid, FilterRequired
from executions.holds import holds
from executions.lifecycle.interventions import cancel, redrive
from executions.models import Campaign, CampaignItem, DeadLetter, Execution, Hold, Interaction
from governance.campaigns import campaigns, drafts
from governance.campaigns.campaigns import Options
from governance.campaigns.selection import Filters, preview
from releases.models import Release
from tenancy.models import AuditEntry, Tenant
from tests import making
from tests.cases import cases
from tests.executions.awaits.parking import suspended
from tests.governance.campaigns.campaigning import OF_THE_PIPELINE, advance, events, pass_time, progress, start
from tests.raw_sql import raised, unchanged

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def various(module_world: None) -> Tenant:
    """A tenant with executions that each differ in one property."""
    owner, _ = making.ready()
    making.dead(owner, "timeout", code="Timeout")
    making.dead(owner, "refused", code="Refused")
    making.dead(owner, "failed", code="Refused", retryable=False)
    making.worker(making.active(owner, "2.0"), "worker-2")
    making.dead(owner, "on v2", code="Timeout")
    stranger, _ = making.ready()
    making.dead(stranger, "stranger", code="Timeout")
    making.execution(owner, "live")
    making.claimed(owner)
    for day, key in enumerate(("timeout", "refused", "failed", "on v2"), 1):
        making.finished(january(day), Execution.objects.get(execution_key=key))
    return owner


def january(day: int) -> datetime:
    return datetime(2026, 1, day, tzinfo=UTC)


@cases(
    ("filters", "allow_failed", "keys"),
    (OF_THE_PIPELINE, False, {"timeout", "refused", "on v2"}),
    (OF_THE_PIPELINE, True, {"timeout", "refused", "on v2", "failed"}),
    (Filters(pipeline_id="another"), True, set()),
    (Filters(release_version="1.0", error_code="Timeout"), True, {"timeout"}),
    (Filters(contract_version="no such"), True, set()),
    (Filters(reason=DeadLetter.Reason.NON_RETRYABLE), True, {"failed"}),
    (Filters(finished_from=january(2), finished_to=january(4)), True, {"refused", "failed"}),
)
def test_a_preview_shows_the_campaign(various: Tenant, filters: Filters, allow_failed: bool, keys: set[str]) -> None:
    shown = preview(various, filters, allow_failed=allow_failed)
    assert (shown.count, {execution.execution_key for execution in shown.executions}) == (len(keys), keys)
    assert sum(group["count"] for group in shown.by_error_code) == len(keys)
    assert sum(group["count"] for group in shown.by_release) == len(keys)
    if not keys:
        raised(CampaignEmpty, start, various, filters, allow_failed=allow_failed)
        return
    made = start(various, filters, allow_failed=allow_failed)
    items = made.items.order_by("id").select_related("execution")
    assert {str(item.execution and item.execution.execution_key) for item in items} == keys
    assert [item.execution_id for item in items] == [execution.pk for execution in shown.executions]
    assert {(item.expected_version, item.outcome) for item in items} == {(2, "PENDING")}


def test_the_reason_filter_matches_the_latest_failure(quiet: Tenant) -> None:
    [execution] = making.dead(quiet, "key")
    redrive(quiet, execution.pk, actor="", reason="")
    making.record(making.failure(making.claimed(quiet)[0], retryable=False))
    reasons = (DeadLetter.Reason.RETRY_EXHAUSTED, DeadLetter.Reason.NON_RETRYABLE)
    assert [preview(quiet, Filters(reason=reason), allow_failed=True).count for reason in reasons] == [0, 1]


def test_a_campaign_needs_a_filter_and_a_redrive_has_no_target(various: Tenant) -> None:
    raised(CampaignTargetInvalid, start, various, target_release_version="1.1")
    for select in (preview, start, partial(start, kind=Campaign.Kind.CANCEL)):
        raised(FilterRequired, select, various, Filters())


Kind = Campaign.Kind
OPTIONS = Options(reason="the bank is back", rate_per_minute=600)
ANN = "user:ann"


def freeze(owner: Tenant, kind: Kind = Kind.REDRIVE) -> Campaign:
    return drafts.freeze(owner, kind, Execution.objects.all(), actor=ANN)


def run(draft: Campaign, options: Options = OPTIONS) -> Campaign:
    started = drafts.start(draft.tenant, draft.pk, options, actor="user:bob")
    pass_time(60)
    campaigns.advance()
    return making.reread(started)


def acts() -> list[tuple[str, str]]:
    return list(AuditEntry.objects.order_by("pk").values_list("act", "actor"))


def test_a_draft_does_nothing_until_it_is_started(owner: Tenant, dead: list[Execution]) -> None:
    draft = freeze(owner)
    assert (draft.status, draft.created_by, progress(draft), events(draft)) == ("DRAFT", ANN, (10, 0, 0), [])
    with unchanged():
        assert campaigns.advance() == 0
        assert drafts.remove_old() == 0
    started = run(draft)
    assert (started.status, started.created_by, progress(started)) == ("COMPLETED", "user:bob", (0, 10, 0))
    assert events(started) == [("STARTED", "user:bob"), ("COMPLETED", "coordinator")]
    assert acts()[-2:] == [("campaign.draft", ANN), ("campaign.start", "user:bob")]
    assert dead[0].events.get(kind="REDRIVEN").actor == "user:bob"


def test_a_draft_contains_only_what_its_kind_fits_and_is_discarded(owner: Tenant, dead: list[Execution]) -> None:
    assert "unfinished" in str(raised(CampaignEmpty, freeze, owner, Kind.PAUSE))
    making.execution(owner, "queued")
    expected = {Kind.REDRIVE: 10, Kind.RESUBMIT: 10, Kind.CANCEL: 1, Kind.PAUSE: 1}
    drafts_of = {kind: freeze(owner, kind) for kind in expected}
    assert {kind: draft.items.count() for kind, draft in drafts_of.items()} == expected
    for draft in drafts_of.values():
        drafts.discard(owner, draft.pk, actor=ANN)
    assert acts()[-1] == ("campaign.discard", ANN)
    assert (Campaign.objects.count(), CampaignItem.objects.count()) == (0, 0)


@pytest.fixture
def queued(quiet: Tenant) -> list[Execution]:
    return [making.execution(quiet, f"q{number}") for number in range(4)]


def outcomes(campaign: Campaign) -> list[tuple[str, str]]:
    return sorted(campaign.items.values_list("outcome", "code"))


def test_executions_are_cancelled_with_their_questions(quiet: Tenant) -> None:
    waiting = suspended((quiet, Release.objects.get(pipeline__tenant=quiet)), "asks")
    making.copies(making.execution(quiet, "first"), 3)
    made = start(quiet, kind=Kind.CANCEL)
    assert advance() == 5
    assert making.reread(made).status == "COMPLETED"
    assert outcomes(made) == [("CANCELLED", "")] * 5
    assert set(quiet.executions.values_list("status", flat=True)) == {"CANCELLED"}
    assert set(Interaction.objects.values_list("status", flat=True)) == {"CANCELLED"}
    event = waiting.events.get(kind="CANCELLED")
    assert (event.actor, event.data["campaignId"]) == ("user:ann", str(made.pk))
    assert campaigns.progress_of(made.pk).cancelled == 5


def test_executions_are_paused_each_with_a_hold(quiet: Tenant, queued: list[Execution]) -> None:
    made = start(quiet, kind=Kind.PAUSE)
    assert advance() == 4
    assert outcomes(made) == [("PAUSED", "")] * 4
    assert making.claimed(quiet) == []
    assert set(Hold.objects.values_list("execution", "reason", "started_by", "ended_at")) == {
        (execution.pk, "the bank is back", "user:ann", None) for execution in queued
    }
    assert making.history(queued[0])[-1] == ("PAUSED", "QUEUED")
    holds.resume(queued[0], actor="user:bob")
    assert len(making.claimed(quiet)) == 1
    holds.resume(queued[1], actor="user:bob")
    again = start(quiet, kind=Kind.PAUSE)
    assert again.items.count() == 2, "those that are paused already are left out"
    holds.pause(queued[1], actor="user:bob", reason="by hand")
    assert advance() == 1
    assert outcomes(again) == [("PAUSED", ""), ("SKIPPED", "ALREADY_PAUSED")]


@cases(("kind", "refused"), [(Kind.CANCEL, "CANCEL_REFUSED"), (Kind.PAUSE, "PAUSE_REFUSED")])
def test_what_changed_is_skipped(kind: Campaign.Kind, refused: str, quiet: Tenant, queued: list[Execution]) -> None:
    made = start(quiet, kind=kind)
    cancel(quiet, queued[0].pk, actor="user:bob", reason="by hand")
    [claim] = making.claimed(quiet, limit=1)
    assert advance() == 2
    done = "CANCELLED" if kind == Kind.CANCEL else "PAUSED"
    assert outcomes(made) == sorted([(done, ""), (done, ""), ("SKIPPED", refused), ("SKIPPED", "VERSION_MISMATCH")])
    assert Execution.objects.get(pk=claim.execution_id).status == "RUNNING"


def test_each_kind_selects_by_the_filters_that_fit_it(quiet: Tenant, queued: list[Execution]) -> None:
    making.worker(making.active(quiet, pipeline_id="org.example.other"), "worker-other")
    making.execution(quiet, "elsewhere", pipeline_id="org.example.other")
    filters = (OF_THE_PIPELINE, Filters(pipeline_id="org.example.other"), Filters(release_version="1.0"))
    assert [start(quiet, selection, kind=Kind.CANCEL).items.count() for selection in filters] == [4, 1, 5]
    by_reason = Filters(pipeline_id=making.PIPELINE, reason=DeadLetter.Reason.RETRY_EXHAUSTED)
    assert "reason" in str(raised(CampaignTargetInvalid, start, quiet, by_reason, kind=Kind.PAUSE))
