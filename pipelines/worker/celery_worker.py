"""The worker on Celery: one release, one queue, no Django and no database.

A message is acknowledged when it arrives. If the process dies, the lease expires and the execution runs elsewhere.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from celery import Celery, bootsteps, signals
from celery.platforms import EX_FAILURE
from celery.worker import state
from kombu import Consumer, Queue
from kombu.exceptions import OperationalError
from kombu.message import Message

from pipelines.errors import DefinitionError
from pipelines.failures import inform, warn, warn_of
from pipelines.worker.host import Host
from pipelines.worker.options import (
    THREADS_ABANDONED,
    broker_advice,
    broker_url,
    hosted_release,
    required,
    tracer_to,
    worker_key,
)
from pipelines.worker.outcomes import Outbox, Report
from pipelines.worker.printed import printed_lines
from pipelines.worker.worker_log import configure_logs
from wire import garbage
from wire.addresses import kombu_url, tls_options, transport_options
from wire.broker import quiet_consumer
from wire.broker.client import survive_broker_loss
from wire.broker.sending import send, take_ticket
from wire.identity import SEGMENT_RULE, is_segment
from wire.messages.celery_messages import LONGEST_WORKER_ID, WorkerState
from wire.messages.queues import (
    EXECUTE_TASK,
    HEARTBEAT_QUEUE,
    HEARTBEAT_TASK,
    INSTRUCTION_TASK,
    OUTCOME_QUEUE,
    RECORD_TASK,
    instruction_queue_of,
    queue_of,
)
from wire.messages.task_messages import TaskMessages
from wire.probes import Endpoint, Liveness

if TYPE_CHECKING:
    from pipelines.worker.monitor import Monitor

# Seconds between heartbeats. A worker accepts no commands before its first instruction, so the first ones are frequent.
FIRST_INTERVAL = 1.0
LONGEST_INTERVAL = 10.0
REPORT_INTERVAL = 1.0  # while steps report progress
BEAT_SECONDS = 5.0
# How many seconds a stopping worker tries to send its last reports.
SHUTDOWN_TIMEOUT = 60.0


def main(arguments: argparse.Namespace) -> int:
    """Host the release until the process is stopped. On SIGTERM, finish the running commands and accept no more.

    Raises `DefinitionError`, WORKER_REFUSED among others: no coordinator accepts this worker.
    """
    configure_logs(arguments.log_format, arguments.log_level)
    required(arguments.tenant, "--tenant", "PIPELINES_TENANT")
    url = broker_url(arguments.broker_url, arguments.broker_ca_file)
    key = worker_key(arguments.key_file)
    worker_id = arguments.worker_id or f"{socket.gethostname()}-{os.getpid()}"
    if len(worker_id) > LONGEST_WORKER_ID or not is_segment(worker_id):
        text = f"--worker-id {SEGMENT_RULE} or have more than {LONGEST_WORKER_ID} characters"
        raise DefinitionError("INVALID_WORKER_ID", text)
    if arguments.metrics_port:
        # Before the pipeline is loaded, so that no module of its artifact takes the place of prometheus_client.
        from pipelines.worker.monitor import Monitor
    release = hosted_release(arguments)
    host = Host(
        release,
        key=key,
        worker_id=worker_id,
        capacity=arguments.concurrency,
        take_ticket=_take_ticket,
        tracer=tracer_to(arguments.traces_endpoint),
        replaceable=arguments.replace_threads,
        restart_at=arguments.exit_when_abandoned,
    )
    inform("Hosting %s with artifact %s", release.identity, release.artifact_digest or "(none to compare)")
    outbox = Outbox(partial(_send, host), host.drop_leases)
    monitor, liveness = None, Liveness()
    if arguments.metrics_port:
        monitor = Monitor(host)
        try:
            # Logs nothing: the author's log handlers may raise.
            Endpoint(arguments.metrics_host, arguments.metrics_port, monitor.text, liveness).start()
        except (OSError, OverflowError) as error:
            raise DefinitionError("INVALID_ADDRESS", f"--metrics-port {arguments.metrics_port}: {error}") from error
    app = _application(url, arguments.broker_ca_file, host, outbox, monitor, liveness)
    logging.getLogger("celery.worker.consumer.consumer").addFilter(_explain_broker)
    outbox.start()
    garbage.settle()
    _Heartbeats(host, outbox)
    worker = app.Worker(
        hostname=f"{worker_id}@{socket.gethostname()}",
        pool="threads",
        concurrency=arguments.concurrency,
        loglevel=arguments.log_level,
        quiet=True,  # its banner is no log line
        # Until the first instruction, because an operator may have drained a worker of this name.
        exclude_queues=[queue_of(release.identity)],
        host=host,
    )
    with printed_lines(copies=arguments.log_format == "terminal"):
        worker.start()
    if host.acceptance.refusal:
        raise DefinitionError("WORKER_REFUSED", f"no coordinator accepts this worker: {host.acceptance.refusal}")
    release.require_no_foreign_module()
    return int(worker.exitcode or 0)


def _application(
    url: str, ca_file: str, host: Host, outbox: Outbox, monitor: Monitor | None, liveness: Liveness
) -> Celery:
    survive_broker_loss()
    tls, timeouts = tls_options(url, ca_file), {"socket_connect_timeout": 5, "socket_timeout": 10}
    # Celery would load the Django project of DJANGO_SETTINGS_MODULE, which is another program's.
    app = Celery("pipelines", broker=kombu_url(url), set_as_current=True, fixups=[])
    queue = queue_of(host.release.identity)
    app.conf.update(
        task_queues=[Queue(queue, no_ack=True)],
        task_default_queue=queue,
        task_default_exchange="",  # the broker would keep its bindings under keys to which a worker has no right
        task_serializer="json",
        accept_content=["json"],
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,  # it would make several log lines of one `print`
        worker_enable_remote_control=False,
        worker_consumer=quiet_consumer.NAME,
        broker_use_ssl=tls or False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            **timeouts,
            **transport_options(url, tls, **timeouts),
            # The worker consumes without acknowledgements, so it does not need the keys that store them.
            "ack_emulation": False,
            # A worker has no keys of the coordinator, so it cannot verify messages. The tasks verify the envelopes.
            "messages": TaskMessages(accepts=_accepts(host), unsigned=(EXECUTE_TASK, INSTRUCTION_TASK)),
        },
    )

    def report(ended: Report) -> None:
        outbox.put(ended)
        if monitor is not None:
            monitor.ended(ended)
        if host.release.must_stop:
            _stop(host, EX_FAILURE)
        elif host.supervisor.must_restart:
            _stop(host, THREADS_ABANDONED)

    @app.task(name=EXECUTE_TASK, shared=False, Strategy=_Threads(host.capacity).strategy)
    def execute(message: Any) -> None:
        host.execute(message, report)

    app.steps["consumer"].update({_Instructions, quiet_consumer.loop_beats(BEAT_SECONDS, liveness)})
    return app


def _stop(host: Host, status: int) -> None:
    """Finish the running commands, then end the process with this status."""
    host.supervisor.close()
    state.should_stop = status  # type: ignore[assignment]  # Celery's loop reads it


def _accepts(host: Host) -> Callable[[str, str], bool]:
    identity = host.release.identity
    accepted = {queue_of(identity): EXECUTE_TASK, instruction_queue_of(identity, host.worker_id): INSTRUCTION_TASK}
    return lambda queue, task: accepted.get(queue) == task


def _send(host: Host, reports: Sequence[Report]) -> None:
    """Send reports about one release. Raises `ConnectionError` if the broker does not accept them."""
    message = host.sealed(reports)
    try:
        send(RECORD_TASK, message, queue=OUTCOME_QUEUE)
    except OperationalError as error:
        raise ConnectionError(str(error)) from error


def _take_ticket(name: str) -> bool:
    """Take a ticket. Return False also if the broker is unavailable: the commands run after their leases expire."""
    try:
        return take_ticket(name)
    except (OperationalError, OSError) as error:
        warn("Cannot take the ticket of a command message: %s", type(error.__cause__ or error).__name__)
        return False


class _Threads:
    """Hands command messages to the threads of Celery's pool, and takes one from the broker only when a thread is free.

    Celery calls `strategy` for what its loop does with the messages of a task. Its own strategy makes a request, notes
    it in several sets, sends signals and traces the call: a quarter of the Python calls of a short command, and nothing
    here uses them. It also prefetches as many messages again. Their leases would expire here while another worker
    of the release may be idle. Celery's own `worker_disable_prefetch` notices a free thread only at the loop's next
    tick, up to a second later. Here the thread wakes the loop.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._taken = 0
        self._lock = threading.Lock()

    def strategy(self, task: Any, app: Celery, consumer: Any) -> Callable[..., None]:
        """Return the function that the loop calls for each message. Celery calls this again when it reconnects."""
        consumer.connection.default_channel.has_room = lambda: self._taken < self._capacity

        def take(message: Any, *_: Any) -> None:
            with self._lock:
                self._taken += 1
            [commands], _, _ = message.body  # TaskMessages has read it, and accepts no other form
            consumer.pool.executor.submit(self._run, task.run, commands, consumer)

        return take

    def _run(self, run: Callable[[Any], None], commands: Any, consumer: Any) -> None:
        try:
            run(commands)
        except BaseException as error:
            warn_of(error, "A command message failed")
        finally:
            with self._lock:
                was_full = self._taken >= self._capacity
                self._taken -= 1
            if was_full or state.should_stop is not None:
                consumer.call_soon(_nothing)


def _nothing() -> None:
    """Wakes the loop."""


class _Instructions(bootsteps.ConsumerStep):
    """Receives the coordinator's instructions in Celery's own loop, so busy threads of the pool do not delay them.

    The worker stops accepting commands by cancelling the queue: commands that it has received still run. A message that
    arrives at that moment goes back into the queue. Celery keeps the choice when it reconnects.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, *, host: Host, **options: Any) -> None:
        super().__init__(parent, **options)
        self._worker = parent
        self._host = host

    def get_consumers(self, channel: Any) -> list[Consumer]:
        queue = Queue(instruction_queue_of(self._host.release.identity, self._host.worker_id))
        return [Consumer(channel, [queue], no_ack=True, accept=["json"], on_message=self._on_message)]

    def _on_message(self, message: Message) -> None:
        [instruction], _, _ = message.payload  # TaskMessages accepts no instruction in another form
        self._host.follow(instruction)
        if self._host.acceptance.refusal:
            _stop(self._host, EX_FAILURE)
        queue = queue_of(self._host.release.identity)
        consuming = self._worker.task_consumer.consuming_from(queue)
        if self._host.accepting and not consuming:
            self._worker.add_task_queue(queue)
        elif consuming and not self._host.accepting:
            self._worker.cancel_task_queue(queue)


def _explain_broker(record: logging.LogRecord) -> bool:
    """Say what to check in the line that Celery logs when it cannot connect. Its URL has no password."""
    if str(record.msg).startswith("consumer: Cannot connect to %s") and isinstance(record.args, tuple):
        url, error, then = record.args
        record.msg = "Cannot connect to the broker at %s: %s. %s. %s"
        record.args = (url, str(error).rstrip("."), broker_advice(str(error)), str(then).partition("(")[0].strip())
    return True


class _Heartbeats(threading.Thread):
    """Sends heartbeats while the worker runs, often enough to renew the leases that it holds."""

    def __init__(self, host: Host, outbox: Outbox) -> None:
        super().__init__(name="heartbeats", daemon=True)
        self._host = host
        self._outbox = outbox
        self._state: WorkerState = "HEALTHY"
        self._stopped = threading.Event()
        signals.worker_ready.connect(self._on_ready, weak=False)
        signals.worker_shutting_down.connect(self._on_draining, weak=False)
        signals.worker_shutdown.connect(self._on_shutdown, weak=False)

    def run(self) -> None:
        interval = FIRST_INTERVAL
        while not self._stopped.is_set():
            self._send()
            silence = min(interval, self._host.shortest_lease.total_seconds() / 3)
            self._host.changed.wait(min(silence, REPORT_INTERVAL) if self._host.has_progress else silence)
            self._host.changed.clear()
            interval = min(2 * interval, LONGEST_INTERVAL)

    def _on_ready(self, **_: Any) -> None:
        self.start()

    def _on_draining(self, **_: Any) -> None:
        self._state = "DRAINING"
        self._host.supervisor.close()
        self._host.changed.set()

    def _on_shutdown(self, **_: Any) -> None:
        if not self._outbox.close(SHUTDOWN_TIMEOUT):
            warn(
                "The broker did not accept the last reports within %s seconds; their leases will expire",
                SHUTDOWN_TIMEOUT,
            )
        self._state = "UNAVAILABLE"
        self._stopped.set()
        self._host.changed.set()
        self._send()

    def _send(self) -> None:
        try:
            message = self._host.heartbeat(self._state)
            send(HEARTBEAT_TASK, message, queue=HEARTBEAT_QUEUE)
        except BaseException as error:  # the next one may succeed: this thread must not end
            warn("The broker did not accept a heartbeat: %s", type(error).__name__)
