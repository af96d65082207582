"""Control workers that detect the end of an interruption concurrently."""

from datetime import timedelta

from django.db.models import F
from django.utils import timezone

from executions.models import MessagePath, Worker
from executions.workers import message_path
from tests import making
from tests.concurrency.racing import race, results_of

AWAY = timedelta(minutes=3)


def test_an_interruption_is_credited_once(committed: None) -> None:
    making.ready()
    message_path.confirm()
    MessagePath.objects.update(arrived_at=F("arrived_at") - AWAY, expected_by=F("expected_by") - AWAY)
    Worker.objects.update(last_heartbeat_at=F("last_heartbeat_at") - AWAY, alive_until=F("alive_until") - AWAY)
    results_of(race(*[message_path.confirm] * 6))
    alive_until = Worker.objects.get().alive_until
    assert alive_until is not None
    assert timedelta(seconds=20) < alive_until - timezone.now() <= timedelta(seconds=30)
