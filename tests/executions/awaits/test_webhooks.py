from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from executions.awaits import awaits, questions, webhooks
from executions.awaits.awaits import epoch_ms
from executions.errors import QuestionClosed
from executions.models import AwaitUnit, DeadLetter, Execution, Interaction
from foundation import places
from outbox.outbox import sending_seconds, webhook_keys
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.awaits.parking import answer, interaction_of, make_late, suspended
from tests.few_places import limited
from tests.raw_sql import raised, run
from tests.receiving import Receiver, receiving
from wire.resume_token import read

pytestmark = pytest.mark.usefixtures("local_receivers")

Ready = tuple[Tenant, Release]


def sent_to(ready: Ready, url: str, key: str = "key", **members: Any) -> Execution:
    return suspended(ready, key, transport="webhook", transport_metadata={"url": url}, **members)


def make_due(question: Interaction) -> None:
    run("UPDATE executions_interaction SET next_dispatch_at = now() WHERE id = %s", question.pk)


def delay_of(question: Interaction) -> float:
    assert question.next_dispatch_at is not None
    return round((question.next_dispatch_at - question.updated_at).total_seconds(), 1)


def die_while_sending() -> None:
    """Begin an attempt and stop during it, as a killed process does."""

    def die(host: str, port: int) -> Sequence[str]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        webhooks.OUTBOX.send(resolve=die)


def printed_keys(ready: Ready) -> list[str]:
    printed = StringIO()
    call_command("webhook_key", ready[0].slug, stdout=printed)
    return printed.getvalue().split()


def test_the_contents_of_a_webhook(ready: Ready, receiver: Receiver, settings: Any) -> None:
    settings.PUBLIC_URL = "https://coordinator.example"
    made = sent_to(ready, receiver.url(), request='{"n": 3, "name": "Müller"}')
    assert interaction_of(made).status == "WAITING"
    assert webhooks.OUTBOX.send()
    question = interaction_of(made)
    assert (question.status, question.dispatch_attempts, question.next_dispatch_at) == ("DISPATCHED", 1, None)
    [request] = receiver.requests
    body = request.json
    token = body.pop("resumeToken")
    expected = {
        "tenantId": ready[0].slug,
        "interactionId": str(question.pk),
        "correlationId": question.correlation_id,
        "executionId": str(made.pk),
        "stepId": "Approve",
        "outputType": "Order",
        "deadlineEpochMs": epoch_ms(question.deadline),
        "requestPayload": {"n": 3, "name": "Müller"},
        "callback": {"completionUrl": "https://coordinator.example/api/v1/resume"},
    }
    assert list(body.items()) == list(expected.items())
    assert read(token, awaits.resume_secrets()).interaction_id == str(question.pk)
    assert request.headers["Idempotency-Key"] == str(question.pk)
    assert not questions.resume(token, response={"n": 1}, actor="a").duplicate
    assert not webhooks.OUTBOX.send()


def test_webhooks_are_signed_with_both_keys_during_a_rotation(ready: Ready, receiver: Receiver, settings: Any) -> None:
    [old] = printed_keys(ready)
    first = settings.WORKER_SECRET
    settings.WORKER_SECRET_FALLBACKS = ["another-worker-secret-0123456789abcdef"]
    [kept, new] = printed_keys(ready)
    assert kept == old != new
    settings.WORKER_SECRET, settings.WORKER_SECRET_FALLBACKS = settings.WORKER_SECRET_FALLBACKS[0], [first]
    assert printed_keys(ready) == [new, old]
    sent_to(ready, receiver.url())
    webhooks.OUTBOX.send()
    [request] = receiver.requests
    assert request.is_signed(new, old)
    assert read(request.json["resumeToken"], awaits.resume_secrets()[:1])
    assert webhook_keys("other")[0] != new
    assert "callback" not in request.json, "there is no public URL"


CERTIFICATE = Path(__file__).parents[2] / "unit" / "foundation" / "tls" / "receiver.pem"


def test_the_delay_before_it_is_sent_again_grows(ready: Ready, receiver: Receiver) -> None:
    receiver.statuses = [500, 302, 200]
    made = sent_to(ready, receiver.url())
    for status, delay in ((500, 10.0), (302, 20.0)):
        assert webhooks.OUTBOX.send()
        question = interaction_of(made)
        assert (question.status, delay_of(question)) == ("WAITING", delay)
        assert question.last_dispatch_error == f"the receiver responded with status {status}"
        assert not webhooks.OUTBOX.send()
        make_due(question)
    assert webhooks.OUTBOX.send()
    assert (making.reread(question).status, question.dispatch_attempts) == ("DISPATCHED", 3)
    assert {request.json["interactionId"] for request in receiver.requests} == {str(question.pk)}


def test_a_forbidden_address_fails_the_execution_and_all_items(ready: Ready, settings: Any, receiver: Receiver) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    many = sent_to(ready, receiver.url(), "many", requests=["{}"] * 3, itemized=True, gives_many=True)
    assert [webhooks.OUTBOX.send(), webhooks.OUTBOX.send(), receiver.requests] == [True, False, []]
    states = Interaction.objects.filter(execution=many).values_list("status", "last_dispatch_error")
    why = "the address of 127.0.0.1 may not be called"
    assert sorted(states) == [("CANCELLED", ""), ("CANCELLED", ""), ("FAILED", why)]


def test_a_receiver_that_is_unreachable_or_has_an_unknown_certificate_is_retried(ready: Ready, settings: Any) -> None:
    def unknown(host: str, port: int) -> Sequence[str]:
        raise OSError(host)

    for key, url in (("refused", "http://127.0.0.1:1/"), ("unknown", "https://receiver.test/")):
        made = sent_to(ready, url, key)
        webhooks.OUTBOX.send(resolve=unknown)
        assert (interaction_of(made).status, interaction_of(made).dispatch_attempts) == ("WAITING", 1)
    with receiving(certificate=CERTIFICATE) as receiver:
        made = sent_to(ready, receiver.url("receiver.test", scheme="https"), "tls")
        webhooks.OUTBOX.send(resolve=lambda host, port: ["127.0.0.1"])
        question = interaction_of(made)
        error = "no connection to the receiver: TLS failed, or the certificate is not valid"
        assert question.last_dispatch_error == error
        settings.WEBHOOK_CA_FILE = str(CERTIFICATE)
        make_due(question)
        webhooks.OUTBOX.send(resolve=lambda host, port: ["127.0.0.1"])
    assert (interaction_of(made).status, len(receiver.requests)) == ("DISPATCHED", 1)


def test_an_attempt_whose_process_died_is_repeated(ready: Ready, receiver: Receiver) -> None:
    made = sent_to(ready, receiver.url("receiver.test"))
    die_while_sending()
    question = interaction_of(made)
    assert (question.status, question.dispatch_attempts) == ("DISPATCHING", 1)
    assert delay_of(question) == sending_seconds()
    assert not webhooks.OUTBOX.send()
    make_due(question)
    assert webhooks.OUTBOX.send(resolve=lambda host, port: ["127.0.0.1"])
    assert (making.reread(question).status, question.dispatch_attempts, len(receiver.requests)) == ("DISPATCHED", 2, 1)


@cases("died", [True, False])
def test_a_webhook_whose_attempts_all_failed_fails_the_execution(ready: Ready, receiver: Receiver, died: bool) -> None:
    receiver.statuses = [503]
    made = sent_to(ready, receiver.url("receiver.test"))
    for _ in range(3):
        make_due(interaction_of(made))
        die_while_sending() if died else webhooks.OUTBOX.send(resolve=lambda host, port: ["127.0.0.1"])
    if died:
        make_due(interaction_of(made))
        webhooks.OUTBOX.send()
    why = "no attempt was completed" if died else "the receiver responded with status 503"
    question = interaction_of(made)
    assert (making.reread(made).status, made.error_code) == ("FAILED", "WEBHOOK_UNDELIVERABLE")
    assert made.error_message == f"Webhook of question {question.pk} could not be delivered: {why}"
    assert (question.status, question.last_dispatch_error, question.next_dispatch_at) == ("FAILED", why, None)
    assert AwaitUnit.objects.get(execution=made).status == "FAILED"
    assert making.history(made)[-1] == ("WEBHOOK_UNDELIVERABLE", "FAILED")
    letter = DeadLetter.objects.get(execution=made)
    assert (letter.reason, letter.retryable) == ("await_failed", True)
    raised(QuestionClosed, answer, question)
    assert not webhooks.OUTBOX.send()


@cases("address", ["127.0.0.1", "192.0.2.1"])
def test_a_result_counts_only_for_its_own_attempt(ready: Ready, receiver: Receiver, address: str) -> None:
    """Another attempt begins during the first one, whose address is allowed or forbidden."""
    made = sent_to(ready, receiver.url("receiver.test"))

    def overtake_and_resolve(host: str, port: int) -> Sequence[str]:
        make_due(interaction_of(made))
        die_while_sending()
        return [address]

    assert webhooks.OUTBOX.send(resolve=overtake_and_resolve)
    question = interaction_of(made)
    assert (question.status, question.dispatch_attempts) == ("DISPATCHING", 2)
    assert Execution.objects.get(pk=made.pk).status == "WAITING_EXTERNAL"


@cases("status", [200, 500])
def test_an_answer_during_an_attempt_is_accepted(ready: Ready, receiver: Receiver, status: int) -> None:
    receiver.statuses = [status]
    made = sent_to(ready, receiver.url("receiver.test"))

    def answer_and_resolve(host: str, port: int) -> Sequence[str]:
        answer(interaction_of(made))
        return ["127.0.0.1"]

    assert webhooks.OUTBOX.send(resolve=answer_and_resolve)
    question = interaction_of(made)
    assert (question.status, question.response, question.next_dispatch_at) == ("COMPLETED", {"n": 2}, None)
    assert Execution.objects.get(pk=made.pk).status == "QUEUED"


def test_a_webhook_is_not_sent_after_its_answer_or_its_deadline(ready: Ready, receiver: Receiver) -> None:
    late = sent_to(ready, receiver.url(), "late")
    answer(interaction_of(sent_to(ready, receiver.url(), "answered")))
    make_late(interaction_of(late))
    assert not webhooks.OUTBOX.is_due()
    assert not webhooks.OUTBOX.send()
    assert not receiver.requests
    awaits.expire()
    assert Execution.objects.get(pk=late.pk).error_code == "AWAIT_TIMEOUT"
    assert (interaction_of(late).status, interaction_of(late).next_dispatch_at) == ("TIMED_OUT", None)


def test_a_tenant_whose_receivers_hang_leaves_a_place_for_other_tenants(ready: Ready, receiver: Receiver) -> None:
    mine, other = sent_to(ready, receiver.url()), sent_to(making.ready(), receiver.url())
    with limited(places.WEBHOOKS, 2), places.WEBHOOKS.hold(ready[0].pk):
        assert webhooks.OUTBOX.send()
        assert not webhooks.OUTBOX.send()
        assert (interaction_of(mine).status, interaction_of(other).status) == ("WAITING", "DISPATCHED")
    assert webhooks.OUTBOX.send()
    assert interaction_of(mine).status == "DISPATCHED"


def test_the_webhook_that_has_been_due_longest_is_sent_first(ready: Ready, receiver: Receiver) -> None:
    made = {key: sent_to(ready, receiver.url(), key) for key in "abc"}
    change = "UPDATE executions_interaction SET next_dispatch_at = now() - make_interval(mins => %s)"
    for minutes, key in enumerate("cab"):
        run(f"{change} WHERE execution_id = %s", minutes, made[key].pk)
    while webhooks.OUTBOX.send():
        pass
    assert [request.json["executionId"] for request in receiver.requests] == [str(made[key].pk) for key in "bac"]
