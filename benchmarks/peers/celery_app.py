"""Celery with a task that does nothing. Runs in the environment of the peers.

`python celery_app.py flood SECONDS` and `python celery_app.py round-trips COUNT` require a running worker. They warm
up, print `ready`, wait for a line and print their account. BROKER_URL names a Redis database without other users.
"""

import json
import os
import sys
import time
from typing import Any

from celery import Celery

app = Celery("benchmarks", broker=os.environ["BROKER_URL"], backend=os.environ["BROKER_URL"])
app.conf.broker_connection_retry_on_startup = True
WARM_UP = 500


# Explicit names, since the module name differs between the worker and this program.
@app.task(name="benchmarks.nothing", ignore_result=True)
def nothing() -> None:
    pass


@app.task(name="benchmarks.echo")
def echo(value: int) -> int:
    return value


def flood(seconds: float) -> dict[str, Any]:
    """Enqueue tasks for about `seconds` while the worker runs them."""
    _drained(WARM_UP)
    rate = WARM_UP / _drained(WARM_UP)
    count = max(WARM_UP, int(rate * seconds))
    cpu = _wait_for_start()
    took = _drained(count)
    cpu = time.process_time() - cpu
    _require_run(2 * WARM_UP + count)
    return {"items": count, "seconds": took, "cpu": cpu}


def _drained(count: int) -> float:
    """Return the seconds from the first message until none is queued or unacknowledged."""
    redis = app.connection_for_write().default_channel.client
    began = time.perf_counter()
    for _ in range(count):
        nothing.delay()
    while redis.llen("celery") or redis.hlen("unacked"):
        time.sleep(0.005)
    return time.perf_counter() - began


def _require_run(count: int) -> None:
    """Raise `RuntimeError` unless the worker ran `count` tasks. It drops unknown tasks."""
    deadline = time.monotonic() + 30
    while True:
        stats_of_workers = (app.control.inspect(timeout=2).stats() or {}).values()
        run = sum(stats["total"].get(nothing.name, 0) for stats in stats_of_workers)
        if run == count:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"the worker ran {run} of {count} tasks")


def round_trips(count: int) -> dict[str, Any]:
    """Measure the seconds from `delay` to the result, one task at a time."""
    for _ in range(50):
        _round_trip(0)
    cpu = _wait_for_start()
    taken = [_round_trip(number) for number in range(count)]
    return {"seconds": taken, "cpu": time.process_time() - cpu}


def _round_trip(number: int) -> float:
    time.sleep(0.005 + number % 20 / 1000)
    began = time.perf_counter()
    if echo.delay(number).get(timeout=30) != number:
        raise RuntimeError("Celery returned a wrong result")
    return time.perf_counter() - began


def _wait_for_start() -> float:
    """Print `ready`, wait for a line, and return the CPU seconds that this process has used."""
    print("ready", flush=True)
    sys.stdin.readline()
    return time.process_time()


if __name__ == "__main__":
    mode, amount = sys.argv[1:]
    json.dump(flood(float(amount)) if mode == "flood" else round_trips(int(amount)), sys.stdout)
