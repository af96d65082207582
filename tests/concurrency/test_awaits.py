from functools import partial

from django.db import connection

from executions.awaits import claims, webhooks
from executions.lifecycle import interventions
from executions.models import Interaction, InteractionEvent
from releases.models import Release
from tenancy.models import Tenant
from tests.concurrency.racing import parted, race, results_of
from tests.concurrency.sessions import another_session
from tests.executions.awaits.parking import answer, interaction_of, suspended
from tests.receiving import Receiver, local_receivers, receiver

__all__ = ["local_receivers", "receiver"]
Ready = tuple[Tenant, Release]


def test_concurrent_last_answers_are_all_counted(ready: Ready) -> None:
    for round_number in range(5):
        made = suspended(ready, f"k{round_number}", requests=["{}"] * 4, itemized=True, gives_many=True)
        items = Interaction.objects.filter(execution=made).select_related("tenant")
        results_of(race(*(partial(answer, item) for item in items)))
        made.refresh_from_db()
        assert (made.status, made.progress) == ("QUEUED", [{"n": 2}] * 4)
        interventions.cancel(ready[0], made.pk, actor="a", reason="")


def test_of_concurrent_claims_one_wins(ready: Ready) -> None:
    for number in range(5):
        one = interaction_of(suspended(ready, f"k{number}"))
        calls = [partial(claims.claim, ready[0], one.pk, actor=f"user:{person}") for person in range(6)]
        won, refusals = parted(race(*calls))
        assert refusals == ["InteractionClaimed"] * 5
        one.refresh_from_db()
        assert (one.claimed_by, one.claim_changes) == (won[0].claimed_by, 1)
        [event] = InteractionEvent.objects.filter(interaction=one)
        assert event.actor == one.claimed_by


def test_the_result_of_a_webhook_in_hand_outlives_a_lost_connection(
    ready: Ready, receiver: Receiver, local_receivers: None
) -> None:
    """The session ends after the receiver's address was resolved, and before the result of the attempt is recorded."""
    suspended(ready, transport="webhook", transport_metadata={"url": receiver.url("receiver.test")})

    def disconnect_and_resolve(host: str, port: int) -> list[str]:
        with another_session() as session, connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            session.execute("SELECT pg_terminate_backend(%s, 10000)", cursor.fetchone())
        return ["127.0.0.1"]

    assert webhooks.OUTBOX.send(resolve=disconnect_and_resolve)
    one = Interaction.objects.get()
    assert (one.status, one.dispatch_attempts, len(receiver.requests)) == ("DISPATCHED", 1, 1)
