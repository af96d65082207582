"""Wake-ups and caches change after the commit, and never after a rollback."""

from collections.abc import Callable
from functools import partial
from threading import Event

import pytest
from celery import current_app
from django.db import transaction

from executions.workers import tenant_keys
from executions.workers.tenant_keys import active_keys, replace_key, start_key
from foundation import wakeup
from tests import making
from tests.broker import taken
from tests.concurrency.racing import race, results_of
from tests.wakeups import broker
from wire.worker_keys import WorkerKey

__all__ = ["broker"]
pytestmark = pytest.mark.usefixtures("broker")


@pytest.fixture
def task(name: str) -> str:
    return f"tests.{name}"


@pytest.mark.parametrize("ring", [wakeup.send, wakeup.send_once])
def test_a_wake_up_is_sent_once_with_the_commit_and_not_after_a_rollback(
    ring: Callable[[str], None], task: str
) -> None:
    for rolled_back in (True, False):
        with transaction.atomic():
            ring(task)
            transaction.set_rollback(rolled_back)
        sent = [found for found, _ in taken(current_app.conf.task_default_queue)]
        assert sent.count(task) == (0 if rolled_back else 1)


def test_this_process_is_woken_after_the_commit(task: str) -> None:
    woken = Event()
    wakeup.handle_here(task, woken.set)
    with transaction.atomic():
        wakeup.send_once(task)
        assert not woken.wait(0.2)
    assert woken.wait(30)


@pytest.mark.parametrize("change", [start_key, replace_key])
def test_a_process_knows_a_new_key_once_it_is_committed(change: Callable[..., WorkerKey]) -> None:
    """Another thread caches the old keys before the change is committed."""
    owner = making.tenant()
    before = active_keys(owner.slug)
    with transaction.atomic():
        made = change(owner, actor="user:x")
        assert active_keys(owner.slug)[0] == made
        tenant_keys.cache.clear()
        assert results_of(race(partial(active_keys, owner.slug))) == [before]
    assert active_keys(owner.slug)[0] == made
