"""Which step failed, how often it was tried, and where a re-drive starts, with failures of real workers."""

from typing import Any

import pytest

from executions.failures import facts
from executions.lifecycle.redrive import redrive
from executions.models import DeadLetter
from tests.cases import cases
from tests.executions.hosting import FAILS_TWICE, MARKS, Hosted, Hosting

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def retries(settings: Any) -> None:
    settings.RETRY_LIMIT, settings.RETRY_DELAY_SECONDS, settings.RETRY_JITTER = 1, 1, 0


def runs_of(hosted: Hosted) -> list[int]:
    """Return how often each step has run."""
    return [(hosted.folder / f"step_{number}").stat().st_size for number in range(3)]


@cases(
    ("checkpoint", "restart", "again"),
    [
        (False, "It starts at the first step: Step 0 (step 1).", [1, 1, 1]),
        (True, "It starts from its last checkpoint, at Step 2 (step 3).", [0, 0, 1]),
    ],
)
def test_a_redrive_starts_where_the_facts_say(
    hosting: Hosting, checkpoint: bool, restart: str, again: list[int]
) -> None:
    hosted = hosting(MARKS, MARKS, FAILS_TWICE, checkpoint=checkpoint)
    execution = hosted.run(hosted.submit(1))
    assert execution.status == "DLQ"
    letter = DeadLetter.objects.get(execution=execution)
    assert (letter.step_index, letter.failed_step_index) == (2 if checkpoint else 0, 2)
    assert facts.failed_attempts(execution) == facts.failed_attempts_until(letter) == 2
    assert str(facts.restart_of(execution)).startswith(restart)
    before = runs_of(hosted)
    redrive(hosted.owner, execution.pk, actor="user:eva", reason="")
    assert hosted.run(execution).status == "SUCCEEDED"
    assert [now - then for now, then in zip(runs_of(hosted), before, strict=True)] == again
