"""Sending claimed executions: signed, to the queue of their release, and queued again if the broker rejects them."""

import json
from typing import Any

import pytest
from django.conf import settings
from redis import Redis

from executions.lifecycle import dispatch
from executions.models import DeadLetter, Execution, Worker
from releases.models import Release
from tenancy.models import Tenant
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


def sent(release: Release) -> list[set[Any]]:
    return [{command.execution_id for command in group} for group in commands(release)]


def test_due_executions_are_sent_to_their_release_as_one_group(owner: Tenant, release: Release) -> None:
    Worker.objects.update(transition_seconds=0.001)
    value = {"text": "é 😀 \u2028", "list": [1, -2.5, None, True], "": {}}
    on_v1 = [making.execution(owner, f"v1-{number}", value) for number in range(2)]
    v2 = making.active(owner, "2.0")
    making.worker(v2, "worker-2")
    on_v2 = making.execution(owner, "v2")
    assert [dispatch.dispatch(), dispatch.dispatch()] == [3, 0]

    [group] = commands(release)
    assert {command.execution_id for command in group} == {execution.pk for execution in on_v1}
    assert [json.loads(command.payload) for command in group] == [value] * 2
    [[command]] = commands(v2)
    on_v2.refresh_from_db()
    assert command.execution_id == on_v2.pk
    assert (command.execution_version, command.lease_token) == (on_v2.version, on_v2.lease_token)
    assert (command.current_step_index, command.stop_before_step_index, command.attempt) == (0, -1, 0)
    assert command.transition_key == f"{on_v2.pk}:0:0"
    assert (command.shape, command.result_shape) == ("UNI", "SINGLE")
    assert command.lease_seconds == settings.LEASE_SECONDS


def test_an_execution_that_lost_its_lease_is_sent_alone(owner: Tenant, release: Release) -> None:
    """It may have killed its worker. The rest of its group would be lost with it repeatedly."""
    Worker.objects.update(transition_seconds=0.001)
    made = [making.execution(owner, f"k{number}").pk for number in range(4)]
    Execution.objects.filter(pk=made[1]).update(takeovers=1)
    dispatch.dispatch()
    assert sorted(sent(release), key=len) == [{made[1]}, {made[0], made[2], made[3]}]


def test_a_command_that_is_too_large_to_be_sent_fails(owner: Tenant, release: Release, settings: Any) -> None:
    """The command contains the payload once for each active key."""
    settings.WORKER_SECRET_FALLBACKS = [f"a secret of before {number}" for number in range(MOST_SEALS - 1)]
    execution = making.execution(owner, value={"text": "x" * (LONGEST_MESSAGE * 3 // 4 // MOST_SEALS)})
    small = making.execution(owner, "small")
    dispatch.dispatch()
    assert sent(release) == [{small.pk}]
    assert making.history(execution)[-1] == ("FAILED", "FAILED")
    assert execution.error_code == "COMMAND_TOO_LARGE"
    assert DeadLetter.objects.get().execution_id == execution.pk


def test_dispatch_claims_repeatedly_until_nothing_is_due(owner: Tenant, release: Release, settings: Any) -> None:
    settings.SWEEP_LIMIT = 2
    made = {making.execution(owner, f"k{number}").pk for number in range(5)}
    dispatch.dispatch()
    groups = sent(release)
    assert set().union(*groups) == made
    assert max(map(len, groups)) <= 2


def test_commands_sent_before_the_broker_rejected_the_rest_stay_claimed(owner: Tenant, release: Release) -> None:
    """A worker may already have the commands that were sent. Only unsent ones return to the queue."""
    first = making.execution(owner, "sent")
    v2 = making.active(owner, "2.0")
    making.worker(v2, "worker-2")
    unsent = making.execution(owner, "unsent")
    with Redis.from_url(settings.CELERY_BROKER_URL) as redis:
        redis.set(queue_of(v2.identity), "not a list, so it cannot grow")
        dispatch.dispatch()
        redis.delete(queue_of(v2.identity))
    assert sent(release) == [{first.pk}]
    assert making.history(first)[-1] == ("CLAIMED", "RUNNING")
    assert making.history(unsent)[-1] == ("DISPATCH_FAILED", "QUEUED")
