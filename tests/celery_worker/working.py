"""A Celery worker in a thread of the test process. The test acts as its coordinator over a real broker."""

import argparse
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import pytest
from celery import signals
from celery.platforms import EX_OK
from celery.utils.dispatch import Signal
from celery.worker import state
from kombu.asynchronous import set_event_loop
from redis import Redis

from coordinator.celery import app as coordinator
from embedded.children import free_port
from embedded.valkey import Valkey
from pipelines.commands import worker
from pipelines.worker import celery_worker
from tests.broker import taken
from tests.running import eventually
from tests.unit.pipelines.worker import conftest as hosted
from wire.broker import sending
from wire.documents.descriptor import parse_descriptor
from wire.identity import ReleaseIdentity
from wire.messages import celery_messages as messages
from wire.messages import queues
from wire.messages.sealing import decode, seal, verify
from wire.worker_keys import worker_key

KEY = worker_key("a secret", "acme")
NAME = "w"
SOURCE = hosted.SOURCE.replace('("tests.hosted")', '("tests.hosted", checkpoint=True)').replace(
    "@pipeline.step", "@pipeline.step\ndef accept(order: Order) -> Order:\n    return order\n\n\n@pipeline.step"
)
"""Its second step waits for the numbers 98 and 99."""


def command(number: int, *, lease_seconds: float = 30.0) -> messages.Command:
    return hosted.command(number, checkpoints=True, lease_seconds=lease_seconds)


class Working:
    def __init__(self, pipeline: hosted.Hosted, valkey: Valkey, options: str = "") -> None:
        self.pipeline = pipeline
        self.status: int | None = None
        self._options = options
        self.owner = Redis.from_url(valkey.owner_url)
        self.checkpoints: list[messages.Checkpoint] = []
        self.outcomes: list[messages.Outcome] = []
        descriptor = parse_descriptor(pipeline.descriptor.read_bytes())
        self.identity = ReleaseIdentity(
            "acme", descriptor.pipeline_id, descriptor.contract_version, descriptor.release_version
        )
        self.queue = queues.queue_of(self.identity)
        self.orders = queues.instruction_queue_of(self.identity, NAME)
        self.metrics_port = free_port()
        self._broker, self._url = valkey.url, valkey.owner_url
        self.thread = threading.Thread(target=self._run, name="worker", daemon=True)
        self._received: list[messages.Heartbeat] = []

    def _run(self) -> None:
        key = self.pipeline.descriptor.with_name("key")
        key.write_text(KEY.text)
        parser = argparse.ArgumentParser()
        worker.add(parser)
        text = (
            f"--from-source {self.pipeline.reference} --release {self.pipeline.descriptor} "
            f"--tenant acme --key-file {key} --worker-id {NAME} --broker-url {self._url} "
            f"--metrics-port {self.metrics_port} {self._options}"
        )
        self.status = celery_worker.main(parser.parse_args(text.split()))

    def begins(self) -> None:
        eventually(self.pipeline.marks, what="the step's start")

    def shut_down(self) -> None:
        """Do what Celery does on SIGTERM. Only the main thread of a process receives signals."""
        signals.worker_shutting_down.send(sender=NAME, sig="SIGTERM", how="Warm", exitcode=EX_OK)
        state.should_stop = EX_OK  # type: ignore[assignment]
        self.owner.lpush(self.orders, "wakes its loop")

    def ends(self, seconds: float = 20) -> bool:
        self.thread.join(seconds)
        return not self.thread.is_alive()

    def order(self) -> None:
        order = messages.Instruction(worker_id=NAME, drain=False, lost_leases=[])
        sending.send_latest(queues.INSTRUCTION_TASK, seal(self.identity, order, KEY), queue=self.orders, seconds=60)

    def send(self, *commands: messages.Command, ticket: bool = True) -> None:
        message = seal(self.identity, messages.CommandGroup(commands=list(commands)), KEY)
        name = queues.ticket_of(self.identity, message["nonce"])
        sending.send(
            queues.EXECUTE_TASK, message, queue=self.queue, ticket=sending.Ticket(name, 30) if ticket else None
        )

    def heartbeats(self) -> list[messages.Heartbeat]:
        received = taken(queues.HEARTBEAT_QUEUE, self._broker)
        return [decode(verify(message, lambda _: [KEY]), messages.Heartbeat) for _, [message] in received]

    def heartbeat(
        self, is_expected: Callable[[messages.Heartbeat], object], what: str, seconds: float = 20
    ) -> messages.Heartbeat:
        """Wait for the expected heartbeat. Drop earlier ones and keep later ones for the next call."""

        def find() -> messages.Heartbeat | None:
            self._received += self.heartbeats()
            while self._received:
                heartbeat = self._received.pop(0)
                if is_expected(heartbeat):
                    return heartbeat
            return None

        return eventually(find, seconds=seconds, what=what)

    def accepts(self) -> None:
        self.order()
        self.heartbeat(lambda beat: beat.taking, "a worker that takes commands")

    def listen(self) -> None:
        for _, [message] in taken(queues.OUTCOME_QUEUE, self._broker):
            verified = verify(message, lambda _: [KEY])
            assert verified.identity == self.identity
            group = decode(verified, messages.OutcomeGroup)
            self.checkpoints += group.checkpoints
            self.outcomes += group.outcomes

    def outcome_of(self, sent: messages.Command) -> messages.Outcome:
        def find() -> list[messages.Outcome]:
            self.listen()
            return [each for each in self.outcomes if each.lease_token == sent.lease_token]

        [found] = eventually(find, what=f"the outcome of {sent.payload}")
        return found


@contextmanager
def working(pipeline: hosted.Hosted, valkey: Valkey, options: str = "") -> Iterator[Working]:
    """Start a worker. After the block, undo the changes that Celery makes in the process."""
    made = Working(pipeline, valkey, options)
    with (
        made.owner,
        without_receivers(),
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(sys.stdout),
        redirect_stderr(sys.stderr),
    ):
        patch.delenv("DJANGO_SETTINGS_MODULE")  # workers have no Django, which Celery would set up again
        made.owner.flushall()
        signals.setup_logging.connect(lambda **_: None, weak=False)  # the test's logging stays
        set_event_loop(None)
        made.thread.start()
        try:
            yield made
        finally:
            pipeline.finish()
            made.shut_down()
            ended = made.ends()
            pipeline.forget()
            state.should_stop = None
            logging.captureWarnings(False)
            coordinator.set_default()
    assert ended


@contextmanager
def without_receivers() -> Iterator[None]:
    """Within the block, disconnect all receivers of Celery signals. Receivers added in the block are dropped."""
    found = {each for each in vars(signals).values() if isinstance(each, Signal)}
    before = {each: each.receivers for each in found}
    try:
        for each in found:
            each.receivers = []
        yield
    finally:
        for each, receivers in before.items():
            each.receivers = receivers
