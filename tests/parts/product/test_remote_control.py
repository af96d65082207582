"""Workers ignore Celery's remote control commands and send no events."""

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery, current_app
from django.conf import settings
from redis import Redis

from tests.running import BuiltRelease, TenantInUse


@pytest.fixture
def attacker() -> Iterator[Celery]:
    """A Celery application of a client that has only the broker's password."""
    before: Any = current_app._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001 - the object behind the proxy
    with Celery("attacker", broker=settings.CELERY_BROKER_URL, set_as_current=False) as app:
        yield app
    before.set_current()


def test_no_worker_executes_or_answers_a_remote_command(
    tenant: TenantInUse, v1: BuiltRelease, attacker: Celery
) -> None:
    tenant.register(v1)
    tenant.activate(v1)
    tenant.start_worker(v1, "alone")
    processes = [child for child in tenant.product.children.started if child.running]
    with Redis.from_url(settings.CELERY_BROKER_URL) as redis:
        assert [name for name in redis.scan_iter("*") if b"pidbox" in name or b"celeryev" in name] == []
        assert redis.pubsub_numpat() == 0
    for command in ("shutdown", "pool_restart"):
        attacker.control.broadcast(command)
    attacker.control.cancel_consumer("control")
    attacker.control.rate_limit("executions.record", "1/h")
    inspect = attacker.control.inspect(timeout=1)
    assert (inspect.ping(), inspect.conf(with_defaults=True), inspect.active()) == (None, None, None)
    execution_id = tenant.accepted("tests.pinned", {"number": 1}, "k")["executionId"]
    tenant.wait_for(execution_id, "SUCCEEDED")
    assert [child.name for child in processes if not child.running] == []
