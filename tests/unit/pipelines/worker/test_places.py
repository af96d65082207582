"""Limits on concurrent transitions, on the wait of commands for a thread, and on the size of reports."""

import json
import threading
import time
import uuid

import pytest

from pipelines.worker.answers import checkpoint_of, outcome_of
from pipelines.worker.held_leases import REMEMBERED, HeldLeases
from pipelines.worker.outbox import Answer
from pipelines.worker.runner import Completed
from tests.running import eventually
from tests.unit.pipelines.worker.conftest import Hosted
from tests.unit.pipelines.worker.test_host import command, sealed
from wire.messages.limits import LONGEST_OUTCOME


def test_no_more_transitions_run_at_once_than_there_are_places(hosted: Hosted) -> None:
    """The limit applies across messages: here three messages for two places."""
    host = hosted.host()
    answers: list[Answer] = []
    messages = [sealed(host, command(99), key=hosted.key) for _ in range(3)]
    threads = [threading.Thread(target=host.execute, args=(message, answers.append)) for message in messages]
    try:
        for each in threads:
            each.start()
        eventually(lambda: len(hosted.marks()) == 2, what="two of them")
        threads[0].join(0.1)
        assert len(hosted.marks()) == 2
    finally:
        (hosted.folder / "go").touch()
        for each in threads:
            each.join(10)
    assert len(hosted.marks()) == len(answers) == 3


def test_a_transition_that_runs_for_longer_than_its_first_lease_keeps_its_lease() -> None:
    held = HeldLeases()
    [running, waiting] = held.take([command(lease_seconds=0.01), command(lease_seconds=0.01)])
    assert held.begin(running.lease_token)
    begun = time.monotonic()
    eventually(lambda: time.monotonic() > begun + 0.02, what="the end of the leases")
    assert [each.lease_token for each in held.in_hand().running] == [running.lease_token]
    assert not held.begin(waiting.lease_token)


def test_a_command_is_not_begun_after_its_lease_although_no_heartbeat_has_given_it_back() -> None:
    held = HeldLeases()
    [late] = held.take([command(lease_seconds=-0.001)])
    assert not held.begin(late.lease_token)


def test_the_newest_leases_are_remembered_and_no_more() -> None:
    held = HeldLeases()
    first, *others = [
        command().model_copy(update={"lease_token": uuid.UUID(int=number)}) for number in range(REMEMBERED + 1)
    ]
    held.take([first])
    held.take(others)
    assert held.take([others[0], others[-1]]) == []
    assert held.take([first]) == [first]


@pytest.mark.parametrize("fits", [True, False])
def test_what_is_too_large_for_a_message_is_a_failure_and_no_checkpoint(fits: bool) -> None:
    text = "x" * (LONGEST_OUTCOME - 1000 if fits else LONGEST_OUTCOME)
    outcome = outcome_of(command(), Completed([text], many=False), steps=1)
    checkpoint = checkpoint_of(command(), 1, [text], many=False)
    if fits:
        assert outcome.output_payloads == [json.dumps(text)]
        assert checkpoint is not None
    else:
        assert outcome.failure is not None
        assert (outcome.failure.failure_class, outcome.failure.retryable) == ("OUTPUT_TOO_LARGE", False)
        assert checkpoint is None
