"""The contents of a webhook, its signature, and the keys of receivers."""

import hashlib
import hmac
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from executions.awaits import awaits, interactions, webhooks
from executions.awaits.awaits import epoch_ms
from tests.executions.awaits.parking import interaction_of
from tests.executions.awaits.webhook_attempts import Ready, sent_to
from tests.receiving import Received, Receiver
from wire.resume_token import read

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("local_receivers")]


def printed_keys(ready: Ready) -> list[str]:
    printed = StringIO()
    call_command("webhook_key", ready[0].slug, stdout=printed)
    return printed.getvalue().split()


def signatures(request: Received) -> list[str]:
    return request.headers["X-Coordinator-Signature"].split(",v1=")[1:]


def expected_signature(request: Received, key: str) -> str:
    timestamp = request.headers["X-Coordinator-Signature"].partition(",")[0].removeprefix("t=")
    assert abs(int(timestamp) - timezone.now().timestamp()) < 60
    return hmac.new(key.encode(), f"{timestamp}.".encode() + request.body, hashlib.sha256).hexdigest()


def test_the_contents_of_a_webhook(ready: Ready, receiver: Receiver, settings: Any) -> None:
    settings.PUBLIC_URL = "https://coordinator.example"
    made = sent_to(ready, receiver.url(), request='{"n": 3, "name": "Müller"}')
    before = interaction_of(made)
    assert (before.status, before.next_dispatch_at is None) == ("WAITING", False)
    assert webhooks.send()
    one = interaction_of(made)
    assert (one.status, one.dispatch_attempts, one.next_dispatch_at) == ("DISPATCHED", 1, None)
    assert one.last_dispatch_error == ""
    [request] = receiver.requests
    body = request.json
    token = body.pop("resumeToken")
    expected = {
        "tenantId": ready[0].slug,
        "interactionId": str(one.pk),
        "correlationId": one.correlation_id,
        "executionId": str(made.pk),
        "stepId": "Approve",
        "outputType": "Order",
        "deadlineEpochMs": epoch_ms(one.deadline),
        "requestPayload": {"n": 3, "name": "Müller"},
        "callback": {"completionUrl": "https://coordinator.example/api/v1/resume"},
    }
    assert list(body.items()) == list(expected.items())
    assert read(token, awaits.resume_secrets()).interaction_id == str(one.pk)
    assert request.headers["Idempotency-Key"] == str(one.pk)
    assert not interactions.resume(token, response={"n": 1}, actor="a").duplicate
    assert not webhooks.send()


def test_webhooks_are_signed_with_both_keys_while_the_secret_is_rotated(
    ready: Ready, receiver: Receiver, settings: Any
) -> None:
    [old] = printed_keys(ready)
    first = settings.WORKER_SECRET
    settings.WORKER_SECRET_FALLBACKS = ["another-worker-secret-0123456789abcdef"]
    [kept, new] = printed_keys(ready)
    assert kept == old != new
    settings.WORKER_SECRET, settings.WORKER_SECRET_FALLBACKS = settings.WORKER_SECRET_FALLBACKS[0], [first]
    assert printed_keys(ready) == [new, old]
    sent_to(ready, receiver.url())
    webhooks.send()
    [request] = receiver.requests
    assert signatures(request) == [expected_signature(request, key) for key in (new, old)]
    assert read(request.json["resumeToken"], awaits.resume_secrets()[:1])
    assert webhooks.webhook_keys("other")[0] != new
    assert "callback" not in request.json, "there is no public URL"
