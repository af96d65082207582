"""The transition worker on Celery: one release, one queue, no Django and no database.

A message is acknowledged as it starts: where the process dies, the lease sees to the execution, not the broker.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
import threading
from typing import Any

from celery import Celery, signals
from kombu import Queue
from kombu.exceptions import OperationalError

from executions.broker import survive_broker_loss
from executions.protocol import EXECUTE_TASK, HEARTBEAT_TASK, OUTCOME_QUEUE, RECORD_TASK, WorkerState, queue_of
from pipelines.errors import DefinitionError
from pipelines.host import Host, host_release
from pipelines.options import needed, worker_key

log = logging.getLogger(__name__)
LONGEST_SILENCE = 10.0
LONGEST_NAME = 150
# An outcome is worth waiting for the broker: by then the lease may be lost, but more often it is not.
PATIENCE = {"max_retries": 300, "interval_start": 0.1, "interval_step": 0.2, "interval_max": 2.0}


def main(arguments: argparse.Namespace) -> int:
    """Host the release until told to stop; SIGTERM finishes what runs and takes no more. Raises `DefinitionError`."""
    logging.basicConfig(level=arguments.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    tenant = needed(arguments.tenant, "--tenant", "PIPELINES_TENANT")
    broker_url = needed(arguments.broker_url, "--broker-url", "PIPELINES_BROKER_URL")
    key = worker_key(arguments.key_file)
    release = host_release(arguments.pipeline, arguments.release, tenant)
    worker_id = arguments.worker_id or f"{socket.gethostname()}-{os.getpid()}"
    if len(worker_id) > LONGEST_NAME:
        raise DefinitionError("INVALID_WORKER_ID", f"--worker-id has more than {LONGEST_NAME} characters")
    host = Host(release, key=key, worker_id=worker_id, capacity=arguments.concurrency)
    log.info("Hosting %s with artifact %s", release.identity, release.artifact_digest)
    app = _application(broker_url, host)
    _Pulse(app, host)
    worker = app.Worker(
        hostname=f"{worker_id}@{socket.gethostname()}",
        pool="threads",
        concurrency=arguments.concurrency,
        loglevel=arguments.log_level,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        task_events=False,
    )
    worker.start()
    return int(worker.exitcode or 0)


def _application(broker_url: str, host: Host) -> Celery:
    survive_broker_loss()
    app = Celery("pipelines", broker=broker_url, set_as_current=True)
    queue = queue_of(host.release.identity)
    app.conf.update(
        task_queues=[Queue(queue)],
        task_default_queue=queue,
        task_acks_late=False,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_enable_remote_control=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={"socket_connect_timeout": 5, "socket_timeout": 10},
    )

    @app.task(name=EXECUTE_TASK)
    def execute(message: Any) -> None:
        answer = host.execute(message)
        if answer is not None:
            app.send_task(RECORD_TASK, args=(answer,), queue=OUTCOME_QUEUE, retry=True, retry_policy=PATIENCE)

    return app


class _Pulse(threading.Thread):
    """Sends heartbeats from when the worker is ready until it is gone, often enough for the leases it holds."""

    def __init__(self, app: Celery, host: Host) -> None:
        super().__init__(name="pulse", daemon=True)
        self._app = app
        self._host = host
        self._state: WorkerState = "HEALTHY"
        self._stopped = threading.Event()
        signals.worker_ready.connect(self._on_ready, weak=False)
        signals.worker_shutting_down.connect(self._on_draining, weak=False)
        signals.worker_shutdown.connect(self._on_gone, weak=False)

    def run(self) -> None:
        while not self._stopped.is_set():
            self._beat()
            self._host.changed.wait(min(LONGEST_SILENCE, self._host.shortest_lease.total_seconds() / 3))
            self._host.changed.clear()

    def _on_ready(self, **_: Any) -> None:
        self.start()

    def _on_draining(self, **_: Any) -> None:
        self._state = "DRAINING"
        self._host.changed.set()

    def _on_gone(self, **_: Any) -> None:
        self._state = "UNAVAILABLE"
        self._stopped.set()
        self._host.changed.set()
        self._beat()

    def _beat(self) -> None:
        try:
            message = self._host.heartbeat(self._state)
            self._app.send_task(HEARTBEAT_TASK, args=(message,), queue="control", retry=False)
        except (OperationalError, OSError) as error:
            log.warning("The broker did not take a heartbeat: %s", type(error).__name__)
