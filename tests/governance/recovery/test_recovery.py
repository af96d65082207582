"""From a bad release to its recovery: what it accepted, what continues elsewhere and why not, and the record of it."""

from collections.abc import Sequence
from typing import Any

import pytest
from django.utils import timezone

from executions.errors import CampaignEmpty, CampaignTargetInvalid
from executions.holds import holds
from executions.lifecycle.interventions import redrive
from executions.models import Campaign, Execution, Resubmission, StartFrom
from governance.activation.activation import activate
from governance.campaigns import drafts
from governance.campaigns.campaigns import Options
from governance.recovery import continuation, record, recovery
from governance.recovery.continuation import NO_CHECKPOINT, Verdict
from governance.recovery.recovery import KINDS, Part
from governance.resubmission.resubmission import resubmit
from releases.errors import ReleaseUnknown
from releases.models import Release
from tenancy import audit
from tenancy.audit.acts import Act
from tenancy.models import Tenant
from tests import making
from tests.executions.submission.continuing import STEPS, order, ready, release
from tests.executions.submission.continuing import failed as failing
from tests.governance.campaigns import campaigning
from tests.governance.finished import counted
from tests.raw_sql import raised

Kind = Campaign.Kind
FIRST = [{**STEPS[0], "inputTypeId": "Start"}, *STEPS[1:]]
ANN = "user:ann"
pytestmark = pytest.mark.usefixtures("db")


def taking(*fields: str, optional: Sequence[str] = ()) -> dict[str, Any]:
    """Return the types of a contract whose first step takes a record with these fields."""
    definition = {**order(*fields, optional=optional)["Order"]["definition"], "id": "Start"}
    return {**order("n"), "Start": {"definition": definition}}


@pytest.fixture(scope="module")
def world(module_world: None) -> tuple[Tenant, Release]:
    """Release 1.0 was good. 1.1 replaced it and accepted what failed: with a checkpoint that fits 1.0, with one that
    does not, without one, and with an input that does not fit 1.0."""
    owner = ready(steps=FIRST, types=taking("n"))
    bad = release(owner, "1.1", FIRST, taking("n", optional=["m"]))
    activate(bad, actor=ANN)
    failing(owner, "fits")
    failing(owner, "wrong", '{"n": "two"}')
    making.dead(owner, "none")
    making.execution(owner, "input", {"n": 1, "m": 2})
    [claim] = making.claimed(owner)
    assert making.record(making.failure(claim)) == 1
    making.execution(owner, "due")
    return owner, Release.objects.select_related("pipeline__tenant", "contract").get(pk=bad.pk)


def test_the_page_counts_what_the_release_accepted_and_proposes_what_was_active(
    owner: Tenant, release: Release
) -> None:
    state = recovery.recovery(release)
    assert {count.part.value: count.count for count in state.accepted if count.count} == {"failed": 4, "running": 1}
    assert state.is_active
    counted(making.replaced(making.registered(owner, "1.2")), 95, 5, hours=1)
    assert [target.release.release_version for target in recovery.targets(release)] == ["1.0", "1.2"]
    holds.pause(release, actor=ANN, reason="stop")
    activate(state.targets[0].release, actor=ANN, reason="bad")
    after = recovery.recovery(release)
    assert not after.is_active
    assert after.hold is not None
    assert after.target == after.active


def test_each_failed_execution_has_a_verdict_and_those_that_cannot_continue_a_reason(
    owner: Tenant, release: Release
) -> None:
    target = recovery.targets(release)[0].release
    verdict = continuation.continuation(release, target)
    names = dict(Execution.objects.filter(tenant=owner).values_list("pk", "execution_key"))
    verdicts = {group.verdict.value: {names[key] for key in group.executions} for group in verdict.groups}
    assert verdicts == {"checkpoint": {"fits"}, "input": {"wrong", "none"}, "neither": {"input"}}
    reasons = [reason.text for group in verdict.groups for reason in group.reasons]
    assert reasons == [NO_CHECKPOINT, "checkpoint.n: must be an integer", "input.m: is not a member of the type"]
    assert verdict.waits == ""
    resubmit(owner, verdict.of(Verdict.CHECKPOINT).executions[0], actor=ANN, reason="", release_version="1.0")
    owner.workers.update(stopped_at=timezone.now())
    after = continuation.continuation(release, target)
    assert ("No worker may run" in after.waits, after.of(Verdict.CHECKPOINT).count) == (True, 0)
    again = recovery.draft(release, Part.FAILED, Kind.REDRIVE, actor=ANN)
    elsewhere = recovery.draft(release, Part.FAILED, Kind.RESUBMIT, actor=ANN, target=target, every=True)
    for draft in (again, elsewhere):
        assert {*draft.items.values_list("execution__execution_key", flat=True)} == {"wrong", "none", "input"}
    stands = recovery.recovery(release)
    assert ({campaign.kind for campaign in stands.open_campaigns}, stands.unresolved) == ({"resubmit", "redrive"}, 3)


def test_a_check_continues_after_the_one_before_if_its_last_execution_ran_again(
    owner: Tenant, release: Release
) -> None:
    target = recovery.targets(release)[0].release
    every = list(continuation.unresolved(release).order_by("finished_at", "pk"))
    first = continuation.continuation(release, target, most=3)
    assert (first.checked, first.next) == (3, continuation.Position.parse(str(first.next)))
    redrive(owner, every[2].pk, actor=ANN, reason="", allow_failed=True)
    second = continuation.continuation(release, target, first.next)
    assert ([key for group in second.groups for key in group.executions], second.next) == ([every[3].pk], None)


def test_a_draft_has_the_executions_of_its_part_and_does_what_the_proof_says(owner: Tenant, release: Release) -> None:
    target = recovery.targets(release)[0].release
    made = recovery.draft(release, Part.FAILED, Kind.RESUBMIT, actor=ANN, target=target, verdict=Verdict.CHECKPOINT)
    assert (made.status, made.canary, made.start_from, made.target_release_version) == ("DRAFT", 5, "checkpoint", "1.0")
    options = Options(reason="bad", rate_per_minute=60, target_release_version="1.0", start_from=StartFrom.CHECKPOINT)
    drafts.start(owner, made.pk, options, actor=ANN)
    making.worker(target, "back")
    assert campaigning.advance() == 1
    link = Resubmission.objects.get(campaign=made)
    assert (link.execution.execution_key, link.checkpoint_step) == ("fits", 1)
    paused = recovery.draft(release, Part.RUNNING, Kind.PAUSE, actor=ANN)
    assert list(paused.items.values_list("execution__execution_key", flat=True)) == ["due"]
    audit.record(Act.TOKEN_ISSUE, tenant=owner, actor="user:eva", object="bot")
    drafts.discard(owner, paused.pk, actor="token:bot")
    proof = record.record(release)
    acts_by_sequence = {entry.sequence: entry.act for entry in proof.entries}
    drafted = ["campaign.draft", "campaign.start", "campaign.draft", "campaign.discard"]
    assert [*acts_by_sequence.values()] == ["release.activate", *drafted]
    assert {(row["actor"], row["person"]) for row in proof.rows()} == {(ANN, "ann"), ("token:bot", "eva")}
    [(number, result)] = proof.results.items()
    assert acts_by_sequence[number] == "campaign.start"
    assert str(result) == "COMPLETED, 1 resubmitted, 1 run again and running"


def test_a_draft_that_makes_no_sense_is_refused_and_nothing_changes(release: Release) -> None:
    target = recovery.targets(release)[0].release
    refused: list[tuple[Part, Kind, dict[str, Any]]] = [
        *((part, kind, {}) for part in Part for kind in Kind if kind not in KINDS[part]),
        (Part.FAILED, Kind.RESUBMIT, {}),
        (Part.FAILED, Kind.REDRIVE, {"target": target}),
        (Part.FAILED, Kind.RESUBMIT, {"target": target, "verdict": Verdict.NEITHER}),
        (Part.FAILED, Kind.REDRIVE, {"every": True}),
    ]
    for part, kind, more in refused:
        raised(CampaignTargetInvalid, recovery.draft, release, part, kind, actor=ANN, **more)
    raised(CampaignEmpty, recovery.draft, release, Part.WAITING, Kind.PAUSE, actor=ANN)
    making.registered(release.pipeline.tenant, "0.1")
    assert "was never active" in continuation.continuation(release, recovery.target_of(release, "0.1")).waits
    raised(CampaignTargetInvalid, recovery.target_of, release, "1.1")
    raised(ReleaseUnknown, recovery.target_of, release, "9")
