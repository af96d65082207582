"""Faults of Celery that the workers work around. A test fails when Celery has fixed the fault: see docs/upstream.md."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

from celery.app import defaults
from celery.worker.consumer import Consumer as WorkerConsumer
from django.conf import settings
from redis import Redis

PLAIN_WORKER = """
import os, sys, time
from celery import Celery

app = Celery("plain", broker=sys.argv[1])
app.conf.update(
    worker_disable_prefetch=True, worker_prefetch_multiplier=1, task_default_queue=sys.argv[2], task_ignore_result=True,
    worker_enable_remote_control=False, worker_redirect_stdouts=False, worker_hijack_root_logger=False,
)

@app.task(name="work", shared=False)
def work(number):
    print("began", time.monotonic(), flush=True)
    time.sleep(0.1)
    print("ended", time.monotonic(), flush=True)
    if number == 3:
        os._exit(0)

for number in range(4):
    work.apply_async([number])
app.Worker(pool="threads", concurrency=1, without_gossip=True, without_mingle=True, without_heartbeat=True).start()
"""


def test_a_worker_without_prefetching_leaves_a_free_thread_idle(tmp_path: Path) -> None:
    """With `worker_disable_prefetch`, the worker notices a free thread only at the next tick of its loop."""
    queue = f"test.{uuid.uuid4()}"
    try:
        worker = subprocess.run(
            [sys.executable, "-I", "-c", PLAIN_WORKER, settings.CELERY_BROKER_URL, queue],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    finally:
        with Redis.from_url(settings.CELERY_BROKER_URL) as redis:
            redis.delete(queue)
    moments = [float(line.split()[1]) for line in worker.stdout.splitlines() if line.startswith(("began", "ended"))]
    idle = [began - ended for ended, began in zip(moments[1::2], moments[2::2], strict=False)]
    assert len(idle) == 3
    assert max(idle) > 0.3


def test_no_setting_disables_the_messages_between_workers() -> None:
    """Only command-line options do, so `QuietConsumer` sets them."""
    names = {str(pair[0]) for pair in defaults.flatten(defaults.NAMESPACES)}
    assert not {name for name in names if "gossip" in name or "mingle" in name}
    assert "worker_consumer" in names


def test_the_workers_consumer_gets_these_options_as_keywords() -> None:
    code = WorkerConsumer.__init__.__code__
    assert "worker_options" in code.co_varnames[: code.co_argcount]
