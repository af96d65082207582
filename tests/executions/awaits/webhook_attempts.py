"""Executions with a webhook, and attempts to send it."""

from collections.abc import Sequence
from typing import Any

import pytest

from executions.awaits import webhooks
from executions.errors import InteractionClosed
from executions.models import AwaitUnit, DeadLetter, Execution, Interaction
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.executions.awaits.parking import answer, interaction_of, suspended
from tests.raw_sql import run

Ready = tuple[Tenant, Release]


def sent_to(ready: Ready, url: str, key: str = "key", **members: Any) -> Execution:
    return suspended(ready, key, transport="webhook", transport_metadata={"url": url}, **members)


def make_due(one: Interaction) -> None:
    run("UPDATE executions_interaction SET next_dispatch_at = now() WHERE id = %s", one.pk)


def delay_of(one: Interaction) -> float:
    assert one.next_dispatch_at is not None
    return round((one.next_dispatch_at - one.updated_at).total_seconds(), 1)


def assert_undeliverable(made: Execution, why: str) -> None:
    made.refresh_from_db()
    one = interaction_of(made)
    assert (made.status, made.error_code) == ("FAILED", "WEBHOOK_UNDELIVERABLE")
    assert made.error_message == f"Webhook of interaction {one.pk} could not be delivered: {why}"
    assert (one.status, one.last_dispatch_error, one.next_dispatch_at) == ("FAILED", why, None)
    assert AwaitUnit.objects.get(execution=made).status == "FAILED"
    assert making.history(made)[-1] == ("WEBHOOK_UNDELIVERABLE", "FAILED")
    letter = DeadLetter.objects.get(execution=made)
    assert (letter.reason, letter.retryable) == ("await_failed", True)
    with pytest.raises(InteractionClosed):
        answer(one)
    assert not webhooks.send()


def die_while_sending() -> None:
    """Begin an attempt and stop during it, as a killed process does."""

    def die(host: str, port: int) -> Sequence[str]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        webhooks.send(resolve=die)
