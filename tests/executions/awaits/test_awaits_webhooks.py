"""Webhooks of awaits: sent to a real server, signed, sent again, given up, and answered in the middle of it all."""

import hashlib
import hmac
import json
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from io import StringIO
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from executions.awaits import awaits, interactions, webhooks
from executions.awaits.awaits import epoch_ms
from executions.errors import InteractionClosed
from executions.lifecycle import sweep
from executions.models import AwaitUnit, DeadLetter, Execution, Interaction
from foundation.http import address_guard
from foundation.scheduling import places
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.executions.awaits.parking import answer, asked, make_late, suspended
from tests.few_places import limited
from tests.raw_sql import run
from tests.receiving import Received, Receiver, dripping, receiving
from wire.resume_token import read

pytestmark = pytest.mark.django_db
CERTIFICATE = Path(__file__).parents[2] / "unit" / "foundation" / "tls" / "receiver.pem"
Ready = tuple[Tenant, Release]


@pytest.fixture(autouse=True)
def local_receivers(settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.0/8")]
    settings.WEBHOOK_ATTEMPTS = 3
    settings.WEBHOOK_DELAY_SECONDS = 10
    settings.RETRY_JITTER = 0


@pytest.fixture
def ready() -> Ready:
    return making.ready()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


def sent_to(ready: Ready, url: str, key: str = "key", **members: Any) -> Execution:
    return suspended(ready, key, transport="webhook", transport_metadata={"url": url}, **members)


def printed_keys(ready: Ready) -> list[str]:
    printed = StringIO()
    call_command("webhook_key", ready[0].slug, stdout=printed)
    return printed.getvalue().split()


def moment_of(request: Received) -> str:
    return request.headers["X-Coordinator-Signature"].partition(",")[0].removeprefix("t=")


def signatures(request: Received) -> list[str]:
    return request.headers["X-Coordinator-Signature"].split(",v1=")[1:]


def expected_signature(request: Received, key: str) -> str:
    return hmac.new(key.encode(), f"{moment_of(request)}.".encode() + request.body, hashlib.sha256).hexdigest()


def make_due(one: Interaction) -> None:
    run("UPDATE executions_interaction SET next_dispatch_at = now() WHERE id = %s", one.pk)


def wait_of(one: Interaction) -> float:
    assert one.next_dispatch_at is not None
    return round((one.next_dispatch_at - one.updated_at).total_seconds(), 1)


def test_what_a_receiver_gets(ready: Ready, receiver: Receiver, settings: Any) -> None:
    settings.PUBLIC_URL = "https://coordinator.example"
    made = sent_to(ready, receiver.url(), request='{"n": 3, "name": "Müller"}')
    before = asked(made)
    assert (before.status, before.next_dispatch_at is None) == ("WAITING", False)
    assert webhooks.send()
    one = asked(made)
    assert (one.status, one.dispatch_attempts, one.next_dispatch_at, one.last_dispatch_error) == (
        "DISPATCHED",
        1,
        None,
        "",
    )
    [request] = receiver.requests
    body = request.json
    token = body.pop("resumeToken")
    assert list(body) == [
        "tenantId",
        "interactionId",
        "correlationId",
        "executionId",
        "stepId",
        "outputType",
        "deadlineEpochMs",
        "requestPayload",
        "callback",
    ]
    assert body == {
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
    assert read(token, awaits.resume_secrets()).interaction_id == str(one.pk)
    assert request.headers["Idempotency-Key"] == str(one.pk)
    assert not interactions.resume(token, response={"n": 1}, actor="a").duplicate
    assert not webhooks.send()


def test_a_receiver_can_tell_who_sent_it(ready: Ready, receiver: Receiver) -> None:
    sent_to(ready, receiver.url())
    webhooks.send()
    [request] = receiver.requests
    [key] = printed_keys(ready)
    assert signatures(request) == [expected_signature(request, key)]
    assert abs(int(moment_of(request)) - timezone.now().timestamp()) < 60
    assert webhooks.webhook_keys("other") != [key]


def test_while_the_secret_is_rotated_receivers_may_have_the_old_or_the_new_key(
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


def test_without_a_public_address_there_is_no_callback(ready: Ready, receiver: Receiver) -> None:
    sent_to(ready, receiver.url())
    webhooks.send()
    assert "callback" not in receiver.requests[0].json


def test_it_is_sent_again_later_and_later(ready: Ready, receiver: Receiver) -> None:
    receiver.statuses = [500, 302, 200]
    made = sent_to(ready, receiver.url())
    waits = []
    for error in ("the receiver responded with status 500", "the receiver responded with status 302"):
        assert webhooks.send()
        one = asked(made)
        assert (one.status, one.last_dispatch_error) == ("WAITING", error)
        waits.append(wait_of(one))
        assert not webhooks.send()
        make_due(one)
    assert webhooks.send()
    one = asked(made)
    assert (one.status, one.dispatch_attempts, waits) == ("DISPATCHED", 3, [10.0, 20.0])
    assert {request.json["interactionId"] for request in receiver.requests} == {str(one.pk)}


def assert_given_up(made: Execution, why: str) -> None:
    made.refresh_from_db()
    one = asked(made)
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


def test_what_is_never_received_fails_the_execution(ready: Ready, receiver: Receiver) -> None:
    receiver.statuses = [503]
    made = sent_to(ready, receiver.url())
    for _ in range(3):
        make_due(asked(made))
        webhooks.send()
    assert len(receiver.requests) == 3
    assert_given_up(made, "the receiver responded with status 503")


def test_where_it_may_not_be_sent_the_execution_fails_at_once(ready: Ready, settings: Any, receiver: Receiver) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    made = sent_to(ready, receiver.url())
    webhooks.send()
    assert not receiver.requests
    assert_given_up(made, "the address of 127.0.0.1 may not be called")


def test_a_name_that_does_not_resolve_is_tried_again(ready: Ready) -> None:
    def unknown(host: str, port: int) -> Sequence[str]:
        raise OSError(host)

    made = sent_to(ready, "https://receiver.test/hook")
    webhooks.send(resolve=unknown)
    one = asked(made)
    assert (one.status, one.last_dispatch_error) == ("WAITING", "the name receiver.test does not resolve")


@pytest.mark.parametrize(
    ("beginning", "status", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", "DISPATCHED", ""),
        (b"HTTP/1.1 200 OK\r\nX-Slow: ", "WAITING", "the receiver took too long to respond"),
        (b"nonsense\r\n\r\n", "WAITING", "the exchange failed (BadStatusLine)"),
    ],
)
def test_what_counts_is_the_head_of_an_answer_in_time(
    ready: Ready, settings: Any, beginning: bytes, status: str, error: str
) -> None:
    """What follows may drip in for as long as it likes: nobody waits for it."""
    settings.WEBHOOK_TIMEOUT_SECONDS = 0.3
    began = time.monotonic()
    with dripping(beginning) as place:
        made = sent_to(ready, f"http://{place}/hook")
        webhooks.send()
    assert time.monotonic() - began < 3
    one = asked(made)
    assert (one.status, one.last_dispatch_error) == (status, error)


def test_a_receiver_that_is_not_there_or_whose_certificate_is_not_known_is_tried_again(
    ready: Ready, settings: Any
) -> None:
    made = sent_to(ready, "http://127.0.0.1:1/")
    webhooks.send()
    assert asked(made).last_dispatch_error == "no connection to the receiver: refused, or too slow"
    with receiving(certificate=CERTIFICATE) as receiver:
        made = sent_to(ready, receiver.url("receiver.test", scheme="https"), "tls")
        webhooks.send(resolve=lambda host, port: ["127.0.0.1"])
        one = asked(made)
        assert one.last_dispatch_error == "no connection to the receiver: TLS failed, or the certificate is not valid"
        settings.WEBHOOK_CA_FILE = str(CERTIFICATE)
        make_due(one)
        webhooks.send(resolve=lambda host, port: ["127.0.0.1"])
    assert (asked(made).status, len(receiver.requests)) == ("DISPATCHED", 1)


def die_while_sending() -> None:
    """Begin an attempt and end in the middle of it, as a process that is killed does."""

    def die(host: str, port: int) -> Sequence[str]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        webhooks.send(resolve=die)


def test_an_attempt_whose_process_died_is_made_again(ready: Ready, receiver: Receiver) -> None:
    made = sent_to(ready, receiver.url("receiver.test"))
    die_while_sending()
    one = asked(made)
    assert (one.status, one.dispatch_attempts) == ("DISPATCHING", 1)
    assert wait_of(one) >= webhooks.sending_seconds()
    assert not webhooks.send()
    make_due(one)
    assert webhooks.send(resolve=lambda host, port: ["127.0.0.1"])
    one.refresh_from_db()
    assert (one.status, one.dispatch_attempts, len(receiver.requests)) == ("DISPATCHED", 2, 1)


def test_attempts_that_all_died_are_given_up(ready: Ready, receiver: Receiver) -> None:
    made = sent_to(ready, receiver.url("receiver.test"))
    for _ in range(3):
        die_while_sending()
        make_due(asked(made))
    webhooks.send()
    assert not receiver.requests
    assert_given_up(made, "no attempt was completed")


@pytest.mark.parametrize("address", ["127.0.0.1", "192.0.2.1"], ids=["received", "given-up"])
def test_a_result_counts_only_for_its_own_attempt(ready: Ready, receiver: Receiver, address: str) -> None:
    """Another attempt begins in the middle of the first one, whose receiver may be sent to, or never."""
    made = sent_to(ready, receiver.url("receiver.test"))

    def overtaken(host: str, port: int) -> Sequence[str]:
        make_due(asked(made))
        die_while_sending()
        return [address]

    assert webhooks.send(resolve=overtaken)
    one = asked(made)
    assert (one.status, one.dispatch_attempts) == ("DISPATCHING", 2)
    assert Execution.objects.get(pk=made.pk).status == "WAITING_EXTERNAL"


@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_while_it_is_being_sent_counts(ready: Ready, receiver: Receiver, status: int) -> None:
    """The resolver is asked in the middle of an attempt: a place from which to answer."""
    receiver.statuses = [status]
    made = sent_to(ready, receiver.url("receiver.test"))

    def answering(host: str, port: int) -> Sequence[str]:
        answer(asked(made))
        return ["127.0.0.1"]

    assert webhooks.send(resolve=answering)
    one = asked(made)
    assert (one.status, one.response, one.next_dispatch_at) == ("COMPLETED", {"n": 2}, None)
    assert Execution.objects.get(pk=made.pk).status == "QUEUED"


def test_an_answer_before_it_is_sent_spares_the_sending(ready: Ready, receiver: Receiver) -> None:
    answer(asked(sent_to(ready, receiver.url())))
    assert not webhooks.send()
    assert not receiver.requests


def test_past_its_deadline_nothing_is_sent(ready: Ready, receiver: Receiver) -> None:
    made = sent_to(ready, receiver.url())
    make_late(asked(made))
    assert not webhooks.due_exists()
    assert not webhooks.send()
    awaits.expire()
    assert Execution.objects.get(pk=made.pk).error_code == "AWAIT_TIMEOUT"
    assert (asked(made).status, asked(made).next_dispatch_at) == ("TIMED_OUT", None)


def test_what_has_been_due_for_longest_is_sent_first(ready: Ready, receiver: Receiver) -> None:
    ages = {"a": 2, "b": 3, "c": 1}
    made = {key: sent_to(ready, receiver.url(), key) for key in ages}
    for key, age in ages.items():
        run(
            "UPDATE executions_interaction SET next_dispatch_at = now() - make_interval(mins => %s) WHERE id = %s",
            age,
            asked(made[key]).pk,
        )
    while webhooks.send():
        pass
    assert [request.json["executionId"] for request in receiver.requests] == [str(made[key].pk) for key in "bac"]


def test_the_sweep_sees_what_is_due_and_no_more(ready: Ready, receiver: Receiver) -> None:
    assert not webhooks.due_exists()
    made = sent_to(ready, receiver.url())
    assert webhooks.due_exists()
    assert sweep.awaits_due() == 0
    webhooks.send()
    assert not webhooks.due_exists()
    later = sent_to(ready, receiver.url(), "later")
    Interaction.objects.filter(execution=later).update(next_dispatch_at=timezone.now() + timedelta(minutes=1))
    assert not webhooks.due_exists()
    assert json.loads(receiver.requests[0].body)["executionId"] == str(made.pk)


def test_one_item_that_cannot_be_delivered_withdraws_the_others(ready: Ready, settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    made = sent_to(ready, "http://127.0.0.1/", requests=["{}"] * 3, itemized=True, gives_many=True)
    assert webhooks.send()
    assert not webhooks.send()
    made.refresh_from_db()
    assert made.error_code == "WEBHOOK_UNDELIVERABLE"
    assert sorted(Interaction.objects.filter(execution=made).values_list("status", flat=True)) == [
        "CANCELLED",
        "CANCELLED",
        "FAILED",
    ]


def test_the_lease_of_an_attempt_outlasts_what_an_attempt_may_take(settings: Any) -> None:
    settings.WEBHOOK_TIMEOUT_SECONDS = 7
    assert webhooks.sending_seconds() > 7 * (address_guard.MOST_ADDRESSES + 1)


def test_a_tenant_whose_receivers_hang_leaves_a_place_for_others(ready: Ready, receiver: Receiver) -> None:
    mine, other = sent_to(ready, receiver.url()), sent_to(making.ready(), receiver.url())
    with limited(places.WEBHOOKS, 2), places.WEBHOOKS.hold(ready[0].pk):
        assert webhooks.send()
        assert not webhooks.send()
        assert (asked(mine).status, asked(other).status) == ("WAITING", "DISPATCHED")
    assert webhooks.send()
    assert asked(mine).status == "DISPATCHED"


def test_a_webhook_that_finds_no_place_is_announced_again(
    ready: Ready, receiver: Receiver, django_capture_on_commit_callbacks: Any
) -> None:
    with limited(places.WEBHOOKS, 1), places.WEBHOOKS.hold():
        with django_capture_on_commit_callbacks() as sent:
            assert not webhooks.send()
        assert sent == [], "nothing is due"
        made = sent_to(ready, receiver.url())
        with django_capture_on_commit_callbacks() as sent:
            assert not webhooks.send()
        assert len(sent) == 1
    assert asked(made).status == "WAITING"
