"""Attempts to send a webhook to a real server: retries, failures, deaths, and answers during an attempt."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from executions.awaits import webhooks
from executions.models import Execution, Interaction
from tests.cases import cases
from tests.executions.awaits.parking import answer, interaction_of
from tests.executions.awaits.webhook_attempts import (
    Ready,
    assert_undeliverable,
    delay_of,
    die_while_sending,
    make_due,
    sent_to,
)
from tests.receiving import Receiver, dripping, receiving

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("local_receivers")]


CERTIFICATE = Path(__file__).parents[2] / "unit" / "foundation" / "tls" / "receiver.pem"


def test_the_delay_before_it_is_sent_again_grows(ready: Ready, receiver: Receiver) -> None:
    receiver.statuses = [500, 302, 200]
    made = sent_to(ready, receiver.url())
    delays = []
    for error in ("the receiver responded with status 500", "the receiver responded with status 302"):
        assert webhooks.send()
        one = interaction_of(made)
        assert (one.status, one.last_dispatch_error) == ("WAITING", error)
        delays.append(delay_of(one))
        assert not webhooks.send()
        make_due(one)
    assert webhooks.send()
    one = interaction_of(made)
    assert (one.status, one.dispatch_attempts, delays) == ("DISPATCHED", 3, [10.0, 20.0])
    assert {request.json["interactionId"] for request in receiver.requests} == {str(one.pk)}


def test_a_forbidden_address_fails_the_execution_and_all_its_items_at_once(
    ready: Ready, settings: Any, receiver: Receiver
) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    many = sent_to(ready, receiver.url(), "many", requests=["{}"] * 3, itemized=True, gives_many=True)
    assert [webhooks.send(), webhooks.send()] == [True, False]
    states = Interaction.objects.filter(execution=many).values_list("status", flat=True)
    assert sorted(states) == ["CANCELLED", "CANCELLED", "FAILED"]
    assert not receiver.requests
    [why] = Interaction.objects.filter(execution=many, status="FAILED").values_list("last_dispatch_error", flat=True)
    assert why == "the address of 127.0.0.1 may not be called"


@cases(
    ("beginning", "status", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", "DISPATCHED", ""),
        (b"HTTP/1.1 200 OK\r\nX-Slow: ", "WAITING", "the receiver took too long to respond"),
    ],
)
def test_the_head_of_the_response_decides_and_must_arrive_in_time(
    ready: Ready, settings: Any, beginning: bytes, status: str, error: str
) -> None:
    """The coordinator does not wait for the body."""
    settings.WEBHOOK_TIMEOUT_SECONDS = 0.3
    began = time.monotonic()
    with dripping(beginning) as place:
        made = sent_to(ready, f"http://{place}/hook")
        webhooks.send()
    assert time.monotonic() - began < 3
    one = interaction_of(made)
    assert (one.status, one.last_dispatch_error) == (status, error)


def test_a_receiver_that_is_unreachable_or_has_an_unknown_certificate_is_retried(ready: Ready, settings: Any) -> None:
    def unknown(host: str, port: int) -> Sequence[str]:
        raise OSError(host)

    for key, url in (("refused", "http://127.0.0.1:1/"), ("unknown", "https://receiver.test/")):
        made = sent_to(ready, url, key)
        webhooks.send(resolve=unknown)
        assert (interaction_of(made).status, interaction_of(made).dispatch_attempts) == ("WAITING", 1)
    with receiving(certificate=CERTIFICATE) as receiver:
        made = sent_to(ready, receiver.url("receiver.test", scheme="https"), "tls")
        webhooks.send(resolve=lambda host, port: ["127.0.0.1"])
        one = interaction_of(made)
        assert one.last_dispatch_error == "no connection to the receiver: TLS failed, or the certificate is not valid"
        settings.WEBHOOK_CA_FILE = str(CERTIFICATE)
        make_due(one)
        webhooks.send(resolve=lambda host, port: ["127.0.0.1"])
    assert (interaction_of(made).status, len(receiver.requests)) == ("DISPATCHED", 1)


def test_an_attempt_whose_process_died_is_repeated(ready: Ready, receiver: Receiver) -> None:
    made = sent_to(ready, receiver.url("receiver.test"))
    die_while_sending()
    one = interaction_of(made)
    assert (one.status, one.dispatch_attempts) == ("DISPATCHING", 1)
    assert delay_of(one) >= webhooks.sending_seconds()
    assert not webhooks.send()
    make_due(one)
    assert webhooks.send(resolve=lambda host, port: ["127.0.0.1"])
    one.refresh_from_db()
    assert (one.status, one.dispatch_attempts, len(receiver.requests)) == ("DISPATCHED", 2, 1)


@cases("died", [True, False])
def test_a_webhook_whose_attempts_all_failed_fails_the_execution(ready: Ready, receiver: Receiver, died: bool) -> None:
    receiver.statuses = [503]
    made = sent_to(ready, receiver.url("receiver.test"))
    for _ in range(3):
        make_due(interaction_of(made))
        if died:
            die_while_sending()
        else:
            webhooks.send(resolve=lambda host, port: ["127.0.0.1"])
    if died:
        make_due(interaction_of(made))
        webhooks.send()
    assert_undeliverable(made, "no attempt was completed" if died else "the receiver responded with status 503")


@cases("address", ["127.0.0.1", "192.0.2.1"])
def test_a_result_counts_only_for_its_own_attempt(ready: Ready, receiver: Receiver, address: str) -> None:
    """Another attempt begins during the first one, whose address is allowed or forbidden."""
    made = sent_to(ready, receiver.url("receiver.test"))

    def overtake_and_resolve(host: str, port: int) -> Sequence[str]:
        make_due(interaction_of(made))
        die_while_sending()
        return [address]

    assert webhooks.send(resolve=overtake_and_resolve)
    one = interaction_of(made)
    assert (one.status, one.dispatch_attempts) == ("DISPATCHING", 2)
    assert Execution.objects.get(pk=made.pk).status == "WAITING_EXTERNAL"


@cases("status", [200, 500])
def test_an_answer_during_an_attempt_is_accepted(ready: Ready, receiver: Receiver, status: int) -> None:
    """The resolver is called during an attempt, so the test answers from there."""
    receiver.statuses = [status]
    made = sent_to(ready, receiver.url("receiver.test"))

    def answer_and_resolve(host: str, port: int) -> Sequence[str]:
        answer(interaction_of(made))
        return ["127.0.0.1"]

    assert webhooks.send(resolve=answer_and_resolve)
    one = interaction_of(made)
    assert (one.status, one.response, one.next_dispatch_at) == ("COMPLETED", {"n": 2}, None)
    assert Execution.objects.get(pk=made.pk).status == "QUEUED"
