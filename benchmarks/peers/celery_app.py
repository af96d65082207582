"""Celery with a task that does nothing; run in the peers' own environment.

`python celery_app.py flood SECONDS` and `python celery_app.py round-trips COUNT` want a worker to be up. They warm up,
say `ready`, wait for a line and print their account. BROKER_URL names a Redis database that nobody else uses.
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


# Named by hand: this file has one name in the worker and another as a program.
@app.task(name="benchmarks.nothing", ignore_result=True)
def nothing() -> None:
    pass


@app.task(name="benchmarks.echo")
def echo(value: int) -> int:
    return value


def flood(seconds: float) -> dict[str, Any]:
    """Enqueue as many as fill `seconds`, at once with the worker that drains them."""
    _drained(WARM_UP)
    rate = WARM_UP / _drained(WARM_UP)
    count = max(WARM_UP, int(rate * seconds))
    cpu = _told_to_go()
    took = _drained(count)
    cpu = time.process_time() - cpu
    _require_run(2 * WARM_UP + count)
    return {"items": count, "seconds": took, "cpu": cpu}


def _drained(count: int) -> float:
    """Seconds from the first message sent until none is waiting and none is in a worker's hands."""
    redis = app.connection_for_write().default_channel.client
    began = time.perf_counter()
    for _ in range(count):
        nothing.delay()
    while redis.llen("celery") or redis.hlen("unacked"):
        time.sleep(0.005)
    return time.perf_counter() - began


def _require_run(count: int) -> None:
    """Raises RuntimeError unless the worker ran exactly so many: it drops what it does not know."""
    deadline = time.monotonic() + 30
    while True:
        told = (app.control.inspect(timeout=2).stats() or {}).values()
        run = sum(stats["total"].get(nothing.name, 0) for stats in told)
        if run == count:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"the worker ran {run} of {count} tasks")


def round_trips(count: int) -> dict[str, Any]:
    """Seconds from `delay` to the result, one at a time."""
    for _ in range(50):
        _round_trip(0)
    cpu = _told_to_go()
    taken = [_round_trip(number) for number in range(count)]
    return {"seconds": taken, "cpu": time.process_time() - cpu}


def _round_trip(number: int) -> float:
    time.sleep(0.005 + number % 20 / 1000)
    began = time.perf_counter()
    if echo.delay(number).get(timeout=30) != number:
        raise RuntimeError("Celery gave another result")
    return time.perf_counter() - began


def _told_to_go() -> float:
    """The CPU seconds that this process has used until then."""
    print("ready", flush=True)
    sys.stdin.readline()
    return time.process_time()


if __name__ == "__main__":
    what, how_much = sys.argv[1:]
    json.dump(flood(float(how_much)) if what == "flood" else round_trips(int(how_much)), sys.stdout)
