"""Which step failed, how often it was tried, and where a re-drive starts, with failures of real workers."""

from pathlib import Path
from typing import Any

import pytest

from executions.awaits import awaits
from executions.failures import facts
from executions.lifecycle import sweep
from executions.lifecycle.redrive import redrive
from executions.lifecycle.revoked import fail_open
from executions.models import DeadLetter, Execution
from releases.activation.revocation import Order, revoke
from tests import making
from tests.executions.awaits import parking
from tests.executions.hosting import FAILS_TWICE, LONG_AGO, MARKS, Hosting

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def retries(settings: Any) -> None:
    settings.RETRY_LIMIT, settings.RETRY_DELAY_SECONDS, settings.RETRY_JITTER = 1, 1, 0


@pytest.fixture
def hosting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hosting:
    return Hosting(tmp_path, monkeypatch)


def letter(execution: Execution) -> DeadLetter:
    return DeadLetter.objects.get(execution=execution)


def test_without_checkpoints_the_steps_before_the_failed_one_run_again(hosting: Hosting) -> None:
    hosted = hosting(MARKS, MARKS, FAILS_TWICE, checkpoint=False)
    execution = hosted.run(hosted.submit(1))
    assert execution.status == "DLQ"
    assert (letter(execution).step_index, letter(execution).failed_step_index) == (0, 2)
    assert str(facts.step_now(execution)) == "Step 2 (step 3)"
    assert facts.failed_attempts(execution) == facts.failed_attempts_until(letter(execution)) == 2
    assert facts.restart_of(execution) == (
        "It starts at the first step: Step 0 (step 1). The steps before Step 2 (step 3), which failed, run again too, "
        "because there is no checkpoint of them."
    )
    starts = [(hosted.folder / f"step_{n}").stat().st_size for n in range(3)]
    redrive(hosted.owner, execution.pk, actor="user:eva", reason="")
    assert hosted.run(execution).status == "SUCCEEDED"
    assert [(hosted.folder / f"step_{n}").stat().st_size - starts[n] for n in range(3)] == [1, 1, 1]


def test_with_checkpoints_only_the_failed_step_runs_again(hosting: Hosting) -> None:
    hosted = hosting(MARKS, MARKS, FAILS_TWICE)
    execution = hosted.run(hosted.submit(1))
    assert facts.restart_of(execution) == (
        "It starts from its last checkpoint, at Step 2 (step 3). The steps before it do not run again."
    )
    assert facts.failed_attempts(execution) == 2
    starts = [(hosted.folder / f"step_{n}").stat().st_size for n in range(3)]
    redrive(hosted.owner, execution.pk, actor="user:eva", reason="")
    assert hosted.run(execution).status == "SUCCEEDED"
    assert [(hosted.folder / f"step_{n}").stat().st_size - starts[n] for n in range(3)] == [0, 0, 1]


def test_an_await_that_timed_out_is_no_failed_attempt_and_opens_again() -> None:
    ready = making.ready()
    execution = parking.suspended(ready)
    parking.make_late(parking.interaction_of(execution))
    assert awaits.expire()
    execution.refresh_from_db()
    assert facts.failed_attempts(execution) == 0
    assert facts.restart_of(execution) == "It asks the questions of Validate (step 1) again."


def test_lost_leases_are_one_failed_attempt_and_a_revocation_is_none(settings: Any) -> None:
    settings.TAKEOVER_LIMIT = 0
    owner, release = making.ready()
    lost = making.execution(owner, "lost")
    making.claimed(owner)
    Execution.objects.filter(pk=lost.pk).update(lease_expires_at=LONG_AGO)
    sweep.expire_leases()
    waiting = making.execution(owner, "waiting")
    revoke(release, actor="user:ann", reason="x", open_executions=Order.FAIL)
    fail_open()
    for execution, attempts in ((lost, 1), (waiting, 0)):
        execution.refresh_from_db()
        assert execution.status in {"DLQ", "FAILED"}
        assert facts.failed_attempts(execution) == attempts
