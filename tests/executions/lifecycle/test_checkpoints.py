"""Checkpoints: the output of each step is stored, and only the step that failed runs again."""

import uuid
from dataclasses import replace
from typing import Any

import pytest

from executions.awaits import interactions
from executions.lifecycle import queries
from executions.models import Execution, Interaction
from executions.state_machine.moves import Claim
from executions.transports.celery import command_of
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.hosting import ASKS, FAILS_TWICE, MARKS, ONE, SPREAD, TOTAL, Hosting
from tests.making import reached, record

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("retries")]


@pytest.fixture(scope="module")
def world(module_world: None) -> tuple[Tenant, Release]:
    """A release with checkpoints and five steps."""
    return making.checkpointing(5)


@pytest.fixture
def retries(settings: Any) -> None:
    settings.RETRY_LIMIT, settings.RETRY_DELAY_SECONDS, settings.RETRY_JITTER = 3, 1, 0


def progress(execution: Execution) -> tuple[int, Any]:
    execution.refresh_from_db()
    return execution.current_step_index, execution.progress


@cases(("checkpoint", "runs", "step"), [(True, [1, 1, 3], 2), (False, [3, 3, 3], 0)])
def test_only_the_step_that_failed_runs_again(hosting: Hosting, checkpoint: bool, runs: list[int], step: int) -> None:
    hosted = hosting(MARKS, MARKS, FAILS_TWICE, checkpoint=checkpoint)
    execution = hosted.run(hosted.submit(1))
    assert queries.result(execution) == 302
    assert [(hosted.folder / f"step_{n}").stat().st_size for n in range(3)] == runs
    assert (execution.checkpoints, execution.current_step_index) == (checkpoint, step)
    assert making.kinds(execution) == [
        *["SUBMITTED", "CLAIMED", *["CHECKPOINT"] * step, "RETRY_SCHEDULED"],
        *["CLAIMED", "RETRY_SCHEDULED", "CLAIMED", "SUCCEEDED"],
    ]


def test_a_checkpoint_is_stored_while_the_transition_runs(owner: Tenant, claim: Claim, execution: Execution) -> None:
    command = command_of(claim)
    assert (command.checkpoints, command.stop_before_step_index) == (True, -1)
    record(checkpoints=[reached(claim, 1, "5")])
    assert progress(execution) == (1, 5)
    assert (execution.status, execution.version, execution.lease_token) == ("RUNNING", 1, claim.lease_token)
    event = execution.events.get(kind="CHECKPOINT")
    assert (event.actor, event.status) == ("worker:w", "RUNNING")
    assert (event.data["nextStepIndex"], event.data["worker"]) == (1, "w")
    record(checkpoints=[reached(claim, 2, "5", "50", many=True)])
    record(making.failure(claim))
    Execution.objects.update(next_due_at=making.LONG_AGO)
    [again] = making.claimed(owner)
    assert (again.step_index, again.input, again.input_shape, again.attempt) == (2, "[5, 50]", "MULTI", 1)


def test_the_newest_checkpoint_of_a_group_is_stored_and_a_late_older_one_is_not(
    claim: Claim, execution: Execution
) -> None:
    record(checkpoints=[reached(claim, 2, "20"), reached(claim, 3, "30"), reached(claim, 1, "10")])
    record(checkpoints=[reached(claim, 1, "10")])
    assert progress(execution) == (3, 30)
    assert making.kinds(execution) == ["SUBMITTED", "CLAIMED", "CHECKPOINT"]


@cases(
    ("kept", "lost_step", "current_step", "expected"),
    [(0, 1, 2, 2), (0, 2, 1, 1), (2, 3, 1, 2)],
)
@cases("lost_first", [True, False])
def test_the_checkpoint_of_the_current_lease_is_stored_if_a_group_has_two_leases(
    owner: Tenant, execution: Execution, lost_first: bool, kept: int, lost_step: int, current_step: int, expected: int
) -> None:
    [lost] = making.claimed(owner)
    if kept:
        record(checkpoints=[reached(lost, kept, "20")])
    making.lose_lease(lost)
    [current] = making.claimed(owner)
    both = [reached(lost, lost_step, f"{lost_step}000"), reached(current, current_step, f"{current_step}0")]
    record(checkpoints=both if lost_first else both[::-1])
    assert progress(execution) == (expected, expected * 10)
    assert execution.takeovers == (0 if expected > kept else 1)


def test_a_newer_checkpoint_that_cannot_be_stored_does_not_hide_an_older_one(
    claim: Claim, execution: Execution
) -> None:
    newer = [reached(claim, 2, "{no json"), reached(claim, 2, "3", execution_version=0)]
    record(checkpoints=[reached(claim, 1, "2"), *newer])
    assert progress(execution) == (1, 2)


def test_a_checkpoint_resets_the_count_of_lost_leases(owner: Tenant, execution: Execution, settings: Any) -> None:
    settings.TAKEOVER_LIMIT = 1
    for step in (1, 2, 3):
        [claim] = making.claimed(owner)
        assert (claim.step_index, claim.attempt) == (step - 1, 0)
        record(checkpoints=[reached(claim, step, str(step))])
        making.lose_lease(claim)
        assert progress(execution) == (step, step)
        assert (execution.status, execution.takeovers) == ("QUEUED", 1)


def test_a_failure_that_reports_its_progress_resumes_there(claim: Claim, execution: Execution) -> None:
    record(making.failure(claim), checkpoints=[reached(claim, 1, "2")])
    record(checkpoints=[reached(claim, 1, "9")])
    assert (progress(execution), execution.status) == ((1, 2), "WAIT_RETRY")


@cases(
    "forged",
    [
        {"lease_token": uuid.uuid4()},
        {"execution_version": 0},
        {"output_payloads": ['"\\u0000"']},
        {"output_payloads": []},
    ],
)
def test_a_checkpoint_of_another_lease_or_that_cannot_be_stored_changes_nothing(
    owner: Tenant, claim: Claim, execution: Execution, forged: dict[str, Any]
) -> None:
    other = making.execution(owner, "other")
    [sound] = making.claimed(owner)
    record(checkpoints=[reached(claim, 1, "2", **forged), reached(sound, 1, "3")])
    assert [progress(each) for each in (execution, other)] == [(0, None), (1, 3)]


@cases("part", ["tenant_id", "pipeline_id", "contract_version", "release_version"])
def test_a_worker_of_another_release_cannot_store_a_checkpoint(claim: Claim, execution: Execution, part: str) -> None:
    record(checkpoints=[reached(claim, 1, "2")], identity=replace(execution.pin, **{part: making.tenant().slug}))
    assert progress(execution) == (0, None)


def test_an_execution_without_checkpoints_stores_none() -> None:
    owner, _ = making.ready()
    execution = making.execution(owner)
    [claim] = making.claimed(owner)
    assert command_of(claim).checkpoints is False
    record(checkpoints=[reached(claim, 1, "2")])
    assert progress(execution) == (0, None)


# --- steps of each cardinality ---


@cases(
    ("checkpoint", "steps", "value", "answers", "result"),
    [
        (False, (ONE, ASKS), 1, [7], [7]),
        (True, (SPREAD, ASKS, TOTAL), 1, [7, 8], [16]),
        (True, (SPREAD, ASKS, TOTAL), 3, [], [1]),
    ],
)
def test_an_answered_execution_runs_to_the_end_wherever_its_await_is(
    hosting: Hosting, checkpoint: bool, steps: tuple[str, ...], value: int, answers: list[int], result: list[int]
) -> None:
    hosted = hosting(*steps, checkpoint=checkpoint)
    execution = hosted.run(hosted.submit(value))
    assert execution.status == ("WAITING_EXTERNAL" if answers else "SUCCEEDED")
    questions = Interaction.objects.filter(execution=execution).order_by("item_index")
    for one, response in zip(questions, answers, strict=True):
        interactions.complete(hosted.owner, interaction_id=one.pk, response=response, actor="user:eva")
    execution = hosted.run(execution)
    assert (execution.status, execution.result, execution.error_message) == ("SUCCEEDED", result, None)
