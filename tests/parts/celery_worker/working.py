"""A Celery worker in a thread of the test process. The test acts as its coordinator over a real broker."""

import argparse
import json
import logging
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

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
from pipelines.errors import DefinitionError
from pipelines.worker import celery_worker
from tests.broker import taken
from tests.parts.celery_worker.gated import Gated
from tests.running import eventually
from wire.broker import client
from wire.documents.descriptor import parse_descriptor
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import (
    Checkpoint,
    Command,
    CommandGroup,
    Heartbeat,
    Instruction,
    Outcome,
    OutcomeGroup,
)
from wire.messages.notices import Refusal, RefusalCode
from wire.messages.queues import (
    EXECUTE_TASK,
    HEARTBEAT_QUEUE,
    INSTRUCTION_TASK,
    OUTCOME_QUEUE,
    instruction_queue_of,
    queue_of,
    ticket_of,
)
from wire.messages.sealing import decode, seal, verify
from wire.worker_keys import worker_key

KEY = worker_key("a secret", "acme")
NAME = "w"


def command(number: int, *, lease_seconds: float = 30.0) -> Command:
    return Command(
        execution_id=uuid.uuid4(),
        current_step_index=0,
        stop_before_step_index=-1,
        checkpoints=True,
        attempt=0,
        result_shape="SINGLE",
        execution_version=1,
        transition_key=f"key-{number}",
        lease_token=uuid.uuid4(),
        lease_seconds=lease_seconds,
        shape="UNI",
        payload=json.dumps({"number": number}),
    )


class Working:
    """A worker of `pipeline`, and the messages that its coordinator sends and receives."""

    def __init__(self, pipeline: Gated, valkey: Valkey, url: str, *, capacity: int) -> None:
        self.pipeline = pipeline
        self.capacity = capacity
        self.owner = Redis.from_url(valkey.owner_url)
        self.error: BaseException | None = None
        self.checkpoints: list[Checkpoint] = []
        self.outcomes: list[Outcome] = []
        descriptor = parse_descriptor(pipeline.descriptor.read_bytes())
        self.identity = ReleaseIdentity(
            "acme", descriptor.pipeline_id, descriptor.contract_version, descriptor.release_version
        )
        self.queue = queue_of(self.identity)
        self.orders = instruction_queue_of(self.identity, NAME)
        self.metrics_port = free_port()
        self._url, self._broker = url, valkey.url
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)
        self._received: list[Heartbeat] = []

    # --- start and exit ---

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        key = self.pipeline.descriptor.with_name("key")
        key.write_text(KEY.text)
        try:
            celery_worker.main(
                argparse.Namespace(
                    from_source=self.pipeline.reference,
                    lock=None,
                    release=self.pipeline.descriptor,
                    tenant="acme",
                    broker_url=self._url,
                    broker_ca_file="",
                    key_file=key,
                    worker_id=NAME,
                    concurrency=self.capacity,
                    metrics_host="127.0.0.1",
                    metrics_port=self.metrics_port,
                    log_level="INFO",
                    log_format="text",
                    traces_endpoint="",
                )
            )
        except DefinitionError as error:
            self.error = error

    def shut_down(self) -> None:
        """Do what Celery does on SIGTERM. Only the main thread of a process receives signals."""
        signals.worker_shutting_down.send(sender=NAME, sig="SIGTERM", how="Warm", exitcode=EX_OK)
        state.should_stop = EX_OK  # type: ignore[assignment]
        self.owner.lpush(self.orders, "wakes its loop")

    def ends(self, seconds: float = 20) -> bool:
        self._thread.join(seconds)
        return not self._thread.is_alive()

    # --- messages to the worker ---

    def order(self, *, drain: bool = False, lost: Sequence[Command] = ()) -> None:
        order = Instruction(worker_id=NAME, drain=drain, lost_leases=[each.lease_token for each in lost])
        client.send_latest(INSTRUCTION_TASK, seal(self.identity, order, KEY), queue=self.orders, seconds=60)

    def refuse(self, nonce: str, code: RefusalCode) -> None:
        refusal = Refusal(nonce=nonce, code=code).model_dump(by_alias=True)
        client.send_latest(INSTRUCTION_TASK, refusal, queue=self.orders, seconds=60)

    def send(self, *commands: Command, ticket: bool = True) -> None:
        """Send the commands in one message."""
        message = seal(self.identity, CommandGroup(commands=list(commands)), KEY)
        name = ticket_of(self.identity, message["nonce"])
        client.send(EXECUTE_TASK, message, queue=self.queue, ticket=client.Ticket(name, 30) if ticket else None)

    # --- messages from the worker ---

    def heartbeats(self) -> list[Heartbeat]:
        """Return the heartbeats that arrived since the last call."""
        messages = [message for _, [message] in taken(HEARTBEAT_QUEUE, self._broker)]
        self.nonces = [message["nonce"] for message in messages]
        return [decode(verify(message, lambda _: [KEY]), Heartbeat) for message in messages]

    def heartbeat(self, is_expected: Callable[[Heartbeat], object], what: str, seconds: float = 20) -> Heartbeat:
        """Wait for the expected heartbeat. Drop earlier ones and keep later ones for the next call."""

        def find() -> Heartbeat | None:
            self._received += self.heartbeats()
            while self._received:
                heartbeat = self._received.pop(0)
                if is_expected(heartbeat):
                    return heartbeat
            return None

        return eventually(find, seconds=seconds, what=what)

    def accepts(self) -> None:
        """Send the first instruction and wait until the worker accepts commands."""
        self.order()
        self.heartbeat(lambda beat: beat.taking, "a worker that takes commands")

    def listen(self) -> None:
        """Collect the checkpoints and outcomes that the worker has reported."""
        for _, [message] in taken(OUTCOME_QUEUE, self._broker):
            verified = verify(message, lambda _: [KEY])
            assert verified.identity == self.identity
            group = decode(verified, OutcomeGroup)
            self.checkpoints += group.checkpoints
            self.outcomes += group.outcomes

    def outcome_of(self, sent: Command) -> Outcome:
        def find() -> list[Outcome]:
            self.listen()
            return [each for each in self.outcomes if each.lease_token == sent.lease_token]

        [found] = eventually(find, what=f"the outcome of {sent.transition_key}")
        return found


@contextmanager
def working(pipeline: Gated, valkey: Valkey, *, capacity: int = 1, url: str = "") -> Iterator[Working]:
    """Start a worker. After the block, undo the changes that Celery makes in the process."""
    worker = Working(pipeline, valkey, url or valkey.owner_url, capacity=capacity)
    with (
        worker.owner,
        without_receivers(),
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(sys.stdout),
        redirect_stderr(sys.stderr),
    ):
        patch.delenv("DJANGO_SETTINGS_MODULE")  # transition workers have no Django, which Celery would set up again
        worker.owner.flushall()
        signals.setup_logging.connect(_keep_logging_setup)
        set_event_loop(None)
        worker.start()
        try:
            yield worker
        finally:
            pipeline.open(*range(100, 200))
            worker.shut_down()
            ended = worker.ends()
            pipeline.reset()
            state.should_stop = None
            logging.captureWarnings(False)
            coordinator.set_default()
    assert ended


def _keep_logging_setup(**_: Any) -> None:
    pass


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
