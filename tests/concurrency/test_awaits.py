from django.db import connection

from executions.awaits import webhooks
from executions.models import Interaction
from releases.models import Release
from tenancy.models import Tenant
from tests.concurrency.sessions import another_session
from tests.executions.awaits.parking import suspended
from tests.receiving import Receiver, local_receivers, receiver

__all__ = ["local_receivers", "receiver"]
Ready = tuple[Tenant, Release]


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
