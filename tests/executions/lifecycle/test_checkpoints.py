"""Checkpoints: the output of each step is stored, and only the step that failed runs again."""

import uuid
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from executions.awaits import interactions
from executions.lifecycle import outcome, queries, sweep
from executions.models import Execution, Interaction
from executions.state_machine.moves import Claim
from executions.transports.celery import command_of
from releases.activation.activation import activate
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.hosting import ASKS, EACH, FAILS_TWICE, LONG_AGO, MARKS, ONE, SPREAD, TOTAL, Hosted, Hosting
from wire.documents.descriptor import CHECKPOINTS
from wire.messages.celery_messages import Checkpoint, Outcome, OutcomeGroup, transition_key

pytestmark = pytest.mark.django_db


@pytest.fixture
def hosting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hosting:
    return Hosting(tmp_path, monkeypatch)


@pytest.fixture(autouse=True)
def retries(settings: Any) -> None:
    settings.RETRY_LIMIT, settings.RETRY_DELAY_SECONDS, settings.RETRY_JITTER = 3, 1, 0


def test_only_the_step_that_failed_runs_again(hosting: Hosting) -> None:
    hosted = hosting(MARKS, MARKS, FAILS_TWICE)
    execution = hosted.run(hosted.submit(1))
    assert queries.result(execution) == 302
    assert [(hosted.folder / f"step_{n}").stat().st_size for n in range(3)] == [1, 1, 3]
    assert [kind for kind, _ in making.history(execution)] == [
        "SUBMITTED",
        *["CLAIMED", "CHECKPOINT", "CHECKPOINT", "RETRY_SCHEDULED"],
        *["CLAIMED", "RETRY_SCHEDULED"],
        *["CLAIMED", "SUCCEEDED"],
    ]


def test_without_checkpoints_all_steps_run_again(hosting: Hosting) -> None:
    hosted = hosting(MARKS, MARKS, FAILS_TWICE, checkpoint=False)
    execution = hosted.run(hosted.submit(1))
    assert queries.result(execution) == 302
    assert [(hosted.folder / f"step_{n}").stat().st_size for n in range(3)] == [3, 3, 3]
    assert (execution.checkpoints, execution.progress, execution.current_step_index) == (False, None, 0)


def test_the_retry_budget_is_shared_by_all_steps(hosting: Hosting, settings: Any) -> None:
    settings.RETRY_LIMIT = 3
    hosted = hosting(FAILS_TWICE, FAILS_TWICE)
    execution = hosted.run(hosted.submit(1))
    assert (execution.status, execution.current_step_index, execution.attempt) == ("DLQ", 1, 3)
    assert execution.progress == 102


def reached(claim: Claim, step: int, *outputs: str, **members: Any) -> Checkpoint:
    """Return the checkpoint that a worker reports while its transition runs."""
    defaults: dict[str, Any] = {
        "execution_id": claim.execution_id,
        "execution_version": claim.version,
        "lease_token": claim.lease_token,
        "transition_key": transition_key(claim.execution_id, claim.step_index, claim.attempt),
        "next_step_index": step,
        "output_payloads": list(outputs),
    }
    return Checkpoint(**{**defaults, **members})


def report(hosted: Hosted, *checkpoints: Checkpoint, outcomes: Sequence[Outcome] = ()) -> None:
    group = OutcomeGroup(worker_id="w", checkpoints=list(checkpoints), outcomes=list(outcomes))
    outcome.record(hosted.release.identity, group)


def test_a_checkpoint_is_stored_while_the_transition_runs(hosting: Hosting) -> None:
    hosted = hosting(ONE, SPREAD, TOTAL)
    execution = hosted.submit(4)
    claim = hosted.claim()
    command = command_of(claim)
    assert (command.checkpoints, command.stop_before_step_index) == (True, -1)
    report(hosted, reached(claim, 1, "5"))
    execution.refresh_from_db()
    assert (execution.status, execution.version, execution.lease_token) == ("RUNNING", 1, claim.lease_token)
    assert (execution.current_step_index, execution.progress, execution.progress_shape) == (1, 5, "UNI")
    assert (execution.input, execution.input_shape, execution.result) == (4, "UNI", None)
    event = execution.events.get(kind="CHECKPOINT")
    unreported = {"artifactDigest": "", "code": "", "environment": "", "steps": []}
    assert event.data == {
        **{"transitionKey": f"{execution.pk}:0:0", "attempt": 0, "nextStepIndex": 1, "worker": "w"},
        **unreported,
    }
    assert (event.actor, event.status) == ("worker:w", "RUNNING")

    report(hosted, reached(claim, 2, "5", "50", many=True))
    report(hosted, outcomes=[making.failure(claim)])
    Execution.objects.filter(pk=execution.pk).update(next_due_at=LONG_AGO)
    again = hosted.claim()
    assert (again.step_index, again.input, again.input_shape, again.attempt) == (2, "[5, 50]", "MULTI", 1)
    hosted.answer(again)
    execution.refresh_from_db()
    assert (execution.status, execution.result) == ("SUCCEEDED", [56])


def test_the_newest_checkpoint_of_a_group_is_stored_and_a_late_older_one_is_not(hosting: Hosting) -> None:
    hosted = hosting(ONE, ONE, ONE, ONE)
    execution = hosted.submit(1)
    claim = hosted.claim()
    report(hosted, reached(claim, 2, "20"), reached(claim, 3, "30"), reached(claim, 1, "10"))
    report(hosted, reached(claim, 1, "10"))
    execution.refresh_from_db()
    assert (execution.current_step_index, execution.progress) == (3, 30)
    assert [kind for kind, _ in making.history(execution)] == ["SUBMITTED", "CLAIMED", "CHECKPOINT"]


@cases(
    ("kept", "lost_step", "current_step", "expected"),
    [(0, 1, 2, 2), (0, 2, 1, 1), (0, 2, 3, 3), (0, 1, 1, 1), (2, 1, 3, 3), (2, 3, 1, 2)],
)
@cases("lost_first", [True, False])
def test_the_checkpoint_of_the_current_lease_is_stored_if_a_group_has_two_leases(
    hosting: Hosting, lost_first: bool, kept: int, lost_step: int, current_step: int, expected: int
) -> None:
    """A worker that lost its lease and got the execution again reports checkpoints under both leases."""
    hosted = hosting(*[ONE] * 4)
    execution = hosted.submit(1)
    lost = hosted.claim()
    if kept:
        report(hosted, reached(lost, kept, "20"))
    Execution.objects.filter(pk=execution.pk).update(lease_expires_at=LONG_AGO)
    sweep.expire_leases()
    current = hosted.claim()
    both = [reached(lost, lost_step, f"{lost_step}000"), reached(current, current_step, f"{current_step}0")]
    report(hosted, *(both if lost_first else reversed(both)))
    execution.refresh_from_db()
    assert (execution.current_step_index, execution.progress) == (expected, expected * 10)
    assert execution.takeovers == (0 if expected > kept else 1)


def test_a_newer_checkpoint_that_cannot_be_stored_does_not_hide_an_older_one(hosting: Hosting) -> None:
    hosted = hosting(ONE, ONE, ONE)
    execution = hosted.submit(1)
    claim = hosted.claim()
    report(hosted, reached(claim, 1, "2"), reached(claim, 2, "{no json"), reached(claim, 2, "3", execution_version=0))
    execution.refresh_from_db()
    assert (execution.current_step_index, execution.progress) == (1, 2)


def test_a_checkpoint_resets_the_count_of_lost_leases(hosting: Hosting, settings: Any) -> None:
    """A long execution loses more leases than the limit, and still succeeds, if each host stores a checkpoint."""
    settings.TAKEOVER_LIMIT = 1
    hosted = hosting(*[ONE] * 5)
    execution = hosted.submit(1)
    for step in range(1, 5):
        report(hosted, reached(hosted.claim(), step, str(step + 1)))
        Execution.objects.filter(pk=execution.pk).update(lease_expires_at=LONG_AGO)
        sweep.expire_leases()
        execution.refresh_from_db()
        assert (execution.status, execution.takeovers, execution.current_step_index) == ("QUEUED", 1, step)
    hosted.answer(hosted.claim())
    execution.refresh_from_db()
    assert (execution.status, execution.result) == ("SUCCEEDED", [6])


def test_a_failure_that_reports_its_progress_resumes_there(hosting: Hosting) -> None:
    """The message with the checkpoint may arrive late, or be lost."""
    hosted = hosting(ONE, ONE)
    execution = hosted.submit(1)
    claim = hosted.claim()
    report(hosted, reached(claim, 1, "2"), outcomes=[making.failure(claim)])
    report(hosted, reached(claim, 1, "9"))
    execution.refresh_from_db()
    assert (execution.status, execution.current_step_index, execution.progress) == ("WAIT_RETRY", 1, 2)


@cases(
    "forged",
    [
        {"lease_token": uuid.uuid4()},
        {"execution_version": 0},
        {"execution_version": 2},
        {"output_payloads": ['"\\u0000"']},
        {"output_payloads": ["{no json"]},
        {"output_payloads": []},
        {"output_payloads": ["1", "2"]},
    ],
)
def test_a_checkpoint_of_another_lease_or_that_cannot_be_stored_changes_nothing(
    hosting: Hosting, forged: dict[str, Any]
) -> None:
    hosted = hosting(ONE, ONE)
    execution = hosted.submit(1)
    other = hosted.submit(1)
    claim, sound = sorted(making.claimed(hosted.owner), key=lambda each: each.execution_id != execution.pk)
    report(hosted, reached(claim, 1, "2", **forged), reached(sound, 1, "3"))
    execution.refresh_from_db()
    other.refresh_from_db()
    assert (execution.status, execution.current_step_index, execution.progress) == ("RUNNING", 0, None)
    assert (other.current_step_index, other.progress) == (1, 3)


def test_another_tenant_or_release_cannot_store_a_checkpoint(hosting: Hosting) -> None:
    hosted, other = hosting(ONE, ONE), hosting(ONE, ONE)
    execution = hosted.submit(1)
    claim = hosted.claim()
    group = OutcomeGroup(worker_id="w", checkpoints=[reached(claim, 1, "2")])
    outcome.record(replace(hosted.release.identity, tenant_id=other.owner.slug), group)
    outcome.record(other.release.identity, group)
    execution.refresh_from_db()
    assert execution.current_step_index == 0


def test_an_execution_without_checkpoints_stores_none(hosting: Hosting) -> None:
    hosted = hosting(ONE, ONE, checkpoint=False)
    execution = hosted.submit(1)
    claim = hosted.claim()
    assert command_of(claim).checkpoints is False
    report(hosted, reached(claim, 1, "2"))
    execution.refresh_from_db()
    assert (execution.current_step_index, execution.progress) == (0, None)


def test_a_lost_lease_resumes_at_the_checkpoint_too(hosting: Hosting) -> None:
    hosted = hosting(ONE, ONE)
    execution = hosted.submit(1)
    lost = hosted.claim()
    report(hosted, reached(lost, 1, "2"))
    Execution.objects.filter(pk=execution.pk).update(lease_expires_at=LONG_AGO)
    sweep.expire_leases()
    again = hosted.claim()
    assert (again.step_index, again.input, again.attempt) == (1, "2", 0)
    hosted.answer(lost)
    hosted.answer(again)
    execution.refresh_from_db()
    assert (execution.status, execution.result) == ("SUCCEEDED", [3])
    assert "OUTCOME_DROPPED" in [kind for kind, _ in making.history(execution)]


KINDS = {"one": ONE, "spread": SPREAD, "total": TOTAL, "each": EACH}
# Each cardinality after one value and after a stream, before each other; and each that takes a stream as the first.
ORDERS = [*product(("one", "spread"), KINDS, KINDS), *product(("total", "each"), KINDS)]


@cases("names", ORDERS)
def test_a_result_is_the_same_with_checkpoints_and_without(hosting: Hosting, names: tuple[str, ...]) -> None:
    """Every cardinality follows every other. A stream, even an empty one, is still a stream after a checkpoint."""
    steps = [KINDS[name] for name in names]
    many = names[0] in {"total", "each"}
    checked, straight = hosting(*steps), hosting(*steps, checkpoint=False)
    for value in [[], [3], [1, 2, 4]] if many else [1, 2, 3]:
        with_checkpoints = checked.run(checked.submit(value))
        without = straight.run(straight.submit(value))
        results = [(each.status, each.result_shape, each.error_code) for each in (with_checkpoints, without)]
        assert results[0] == results[1]
        assert with_checkpoints.result == without.result
        kinds = [kind for kind, _ in making.history(with_checkpoints)]
        assert kinds.count("CHECKPOINT") == len(steps) - 1
        assert "CHECKPOINT" not in [kind for kind, _ in making.history(without)]


def answer_all(owner: Tenant, *responses: int) -> None:
    interactions_of_tenant = Interaction.objects.filter(tenant=owner).order_by("item_index")
    for one, response in zip(interactions_of_tenant, responses, strict=True):
        interactions.complete(owner, interaction_id=one.pk, response=response, actor="user:eva")


@cases("checkpoint", [True, False])
@cases(
    ("steps", "answers", "result"),
    [
        ((ASKS,), [7], [7]),
        ((ONE, ASKS), [7], [7]),
        ((ONE, ASKS, ONE), [7], [8]),
        ((SPREAD, ASKS), [7, 8], [7, 8]),
        ((SPREAD, ASKS, TOTAL), [7, 8], [16]),
    ],
)
def test_an_answered_execution_runs_to_the_end_wherever_its_await_is(
    hosting: Hosting, checkpoint: bool, steps: tuple[str, ...], answers: list[int], result: list[int]
) -> None:
    """If the await is the last step, its answer is the result and no further step runs."""
    hosted = hosting(*steps, checkpoint=checkpoint)
    execution = hosted.run(hosted.submit(1))
    assert execution.status == "WAITING_EXTERNAL"
    answer_all(hosted.owner, *answers)
    execution = hosted.run(execution)
    assert (execution.status, execution.result, execution.error_message) == ("SUCCEEDED", result, None)


@cases("checkpoint", [True, False])
def test_an_await_over_an_empty_stream_opens_no_interaction(hosting: Hosting, checkpoint: bool) -> None:
    hosted = hosting(SPREAD, ASKS, TOTAL, checkpoint=checkpoint)
    execution = hosted.run(hosted.submit(3))
    assert (execution.status, execution.result) == ("SUCCEEDED", [1])


STEPS = [{**making.STEP, "index": index, "authoredName": f"Step {index}"} for index in range(2)]


@pytest.fixture
def claim() -> Claim:
    """A claim of an execution with two steps and checkpoints."""
    owner = making.tenant()
    contract = making.contract(steps=STEPS)
    data = making.archive(contract)
    descriptor = making.descriptor(contract, data)
    descriptor["artifacts"][0]["capabilities"] = [CHECKPOINTS]
    release = making.verified(making.upload(owner, descriptor, data).release)
    activate(release, actor="user:test")
    making.worker(release)
    making.execution(owner)
    [claimed] = making.claimed(owner)
    return claimed


def recorded(claim: Claim, reported: Outcome) -> Execution:
    execution = Execution.objects.select_related("tenant").get(pk=claim.execution_id)
    group = OutcomeGroup(worker_id="w", outcomes=[reported])
    assert outcome.record(execution.pin, group) == 1
    execution.refresh_from_db()
    return execution


@cases("step", [0, 1, 2, 99])
def test_a_worker_that_stops_before_the_end_has_failed(claim: Claim, step: int) -> None:
    """Every command runs to the end. Outputs before the end arrive as checkpoints, while the transition runs."""
    execution = recorded(claim, making.outcome_of(claim, stopped_before_step_index=step))
    assert (execution.status, execution.error_code) == ("WAIT_RETRY", "MALFORMED_OUTCOME")
    assert (execution.current_step_index, execution.progress) == (0, None)
