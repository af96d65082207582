"""Sending claimed executions: signed, to the queue of their release, and queued again if the broker rejects them."""

import json
import time
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone
from redis import Redis

from executions.lifecycle import dispatch
from executions.models import DeadLetter, Execution, Worker
from releases.models import Release
from tests import making
from tests.broker import taken
from wire.messages.celery_messages import Command, CommandGroup
from wire.messages.queues import EXECUTE_TASK, queue_of
from wire.messages.sealing import MOST_SEALS, decode, verify
from wire.messages.task_messages import LONGEST_MESSAGE
from wire.worker_keys import worker_key

pytestmark = pytest.mark.django_db


def commands(release: Release) -> list[list[Command]]:
    """Return the groups of commands that wait in the queue of the release."""
    groups = []
    for task, [message] in taken(queue_of(release.identity)):
        assert task == EXECUTE_TASK
        envelope = verify(message, lambda tenant: [worker_key(settings.WORKER_SECRET, tenant)])
        assert envelope.identity == release.identity
        groups.append(decode(envelope, CommandGroup).commands)
    return groups


def test_due_executions_are_sent_to_their_release_as_one_group() -> None:
    owner, v1 = making.ready()
    Worker.objects.update(transition_seconds=0.001)
    on_v1 = [making.execution(owner, f"v1-{number}", {"n": number}) for number in range(2)]
    v2 = making.active(owner, "2.0")
    making.worker(v2, "worker-2")
    on_v2 = making.execution(owner, "v2")
    assert dispatch.dispatch() >= 3

    [group] = commands(v1)
    assert {command.execution_id for command in group} == {execution.pk for execution in on_v1}
    assert sorted(json.loads(command.payload)["n"] for command in group) == [0, 1]
    [[command]] = commands(v2)
    on_v2.refresh_from_db()
    assert command.execution_id == on_v2.pk
    assert (command.execution_version, command.lease_token) == (on_v2.version, on_v2.lease_token)
    assert (command.current_step_index, command.stop_before_step_index, command.attempt) == (0, -1, 0)
    assert command.transition_key == f"{on_v2.pk}:0:0"
    assert (command.shape, command.result_shape) == ("UNI", "SINGLE")
    assert command.lease_seconds == settings.LEASE_SECONDS


def test_an_execution_that_lost_its_lease_is_sent_alone() -> None:
    """It may have killed its worker. The rest of its group would be lost with it repeatedly."""
    owner, release = making.ready()
    Worker.objects.update(transition_seconds=0.001)
    made = [making.execution(owner, f"k{number}") for number in range(4)]
    Execution.objects.filter(pk=made[1].pk).update(takeovers=1)
    dispatch.dispatch()
    groups = [{command.execution_id for command in group} for group in commands(release)]
    assert sorted(groups, key=len) == [{made[1].pk}, {made[0].pk, made[2].pk, made[3].pk}]


def test_a_command_that_is_too_large_to_be_sent_fails(settings: Any) -> None:
    """The command contains the payload once for each active key."""
    settings.WORKER_SECRET_FALLBACKS = [f"a secret of before {number}" for number in range(MOST_SEALS - 1)]
    owner, release = making.ready()
    execution = making.execution(owner, value={"text": "x" * (LONGEST_MESSAGE * 3 // 4 // MOST_SEALS)})
    small = making.execution(owner, "small")
    dispatch.dispatch()
    assert [[command.execution_id for command in group] for group in commands(release)] == [[small.pk]]
    execution.refresh_from_db()
    assert (execution.status, execution.error_code) == ("FAILED", "COMMAND_TOO_LARGE")
    assert making.history(execution)[-1] == ("FAILED", "FAILED")
    assert DeadLetter.objects.get().execution_id == execution.pk


def test_a_second_dispatch_sends_nothing_again() -> None:
    owner, release = making.ready()
    making.execution(owner)
    dispatch.dispatch()
    dispatch.dispatch()
    assert len(commands(release)) == 1


def test_dispatch_claims_repeatedly_until_nothing_is_due(settings: Any) -> None:
    settings.SWEEP_LIMIT = 2
    owner, release = making.ready()
    made = [making.execution(owner, f"k{number}") for number in range(5)]
    dispatch.dispatch()
    groups = commands(release)
    assert {command.execution_id for group in groups for command in group} == {each.pk for each in made}
    assert max(len(group) for group in groups) <= 2


def test_an_input_arrives_as_it_was_submitted() -> None:
    owner, release = making.ready()
    value = {"text": "é 😀 \u2028", "list": [1, -2.5, None, True], "": {}}
    making.execution(owner, value=value)
    dispatch.dispatch()
    [[command]] = commands(release)
    assert json.loads(command.payload) == value


def test_commands_sent_before_the_broker_rejected_the_rest_stay_claimed() -> None:
    """A worker may already have the commands that were sent. Only unsent ones return to the queue."""
    owner, v1 = making.ready()
    sent = making.execution(owner, "sent")
    v2 = making.active(owner, "2.0")
    making.worker(v2, "worker-2")
    unsent = making.execution(owner, "unsent")
    with Redis.from_url(settings.CELERY_BROKER_URL) as redis:
        redis.set(queue_of(v2.identity), "not a list, so it cannot grow")
        dispatch.dispatch()
        redis.delete(queue_of(v2.identity))
    assert [[command.execution_id for command in group] for group in commands(v1)] == [[sent.pk]]
    assert making.history(sent)[-1] == ("CLAIMED", "RUNNING")
    assert making.history(unsent)[-1] == ("DISPATCH_FAILED", "QUEUED")


@pytest.mark.usefixtures("broken_broker")
def test_without_a_broker_every_claimed_execution_is_queued_again() -> None:
    """This includes executions of all releases, and not only of the one whose message failed first."""
    owner, _ = making.ready()
    first = making.execution(owner, "first")
    making.worker(making.active(owner, "2.0"), "worker-2")
    second = making.execution(owner, "second")
    began = time.monotonic()
    assert dispatch.dispatch() == 0
    assert time.monotonic() - began < 4
    for execution in (first, second):
        assert making.history(execution) == [
            ("SUBMITTED", "QUEUED"),
            ("CLAIMED", "RUNNING"),
            ("DISPATCH_FAILED", "QUEUED"),
        ]
        assert (execution.attempt, execution.lease_token, execution.error_code) == (0, None, None)
        wait = (execution.next_due_at - timezone.now()).total_seconds()
        assert 0 < wait <= settings.DISPATCH_RETRY_SECONDS
