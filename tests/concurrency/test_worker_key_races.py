"""Concurrent changes of a tenant's worker keys are serialized."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from django.db import connections, transaction

from executions.models import WorkerKeyChange
from executions.workers.tenant_keys import replace_key, revoke_old_key, start_key
from tests import making
from wire.worker_keys import WorkerKey

pytestmark = pytest.mark.usefixtures("committed")


def alone(change: Callable[[], WorkerKey]) -> str:
    """Make a change over a separate connection. Return the new generation or the name of the exception."""
    try:
        return change().key_id.partition("-")[0]
    except Exception as error:
        return type(error).__name__
    finally:
        connections.close_all()


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (start_key, start_key, "WorkerKeyChangeRefused"),
        (start_key, revoke_old_key, "2"),
        (start_key, replace_key, "3"),
        (replace_key, replace_key, "3"),
        (replace_key, start_key, "3"),
        (replace_key, revoke_old_key, "WorkerKeyChangeRefused"),
    ],
)
def test_a_change_waits_for_the_previous_one_and_uses_its_result(
    first: Callable[..., WorkerKey], second: Callable[..., WorkerKey], expected: str
) -> None:
    owner = making.tenant()
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            first(owner, actor="user:a")
            waiting = pool.submit(alone, partial(second, owner, actor="user:b"))
            with pytest.raises(TimeoutError):
                waiting.result(0.2)
        assert waiting.result(30) == expected
    numbers = list(WorkerKeyChange.objects.filter(tenant=owner).order_by("number").values_list("number", flat=True))
    assert numbers == list(range(1, len(numbers) + 1))
