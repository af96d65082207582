"""DBOS with a workflow of three steps. Runs in the environment of the peers.

`python dbos_app.py SECONDS` warms up, prints `ready`, waits for a line, starts workflows with `start_workflow` in this
process, waits for their results and prints its account. DATABASE_URL names a database without other users.
"""

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from dbos import DBOS

WARM_UP = 60
STARTERS = 8


@DBOS.step()
def first(value: int) -> int:
    return value + 1


@DBOS.step()
def second(value: int) -> int:
    return value + 1


@DBOS.step()
def third(value: int) -> int:
    return value + 1


@DBOS.workflow()
def three_steps(value: int) -> int:
    return third(second(first(value)))


def run(count: int) -> float:
    """Return the seconds from the first start to the last result. Several threads start workflows, which is fastest."""
    began = time.perf_counter()
    with ThreadPoolExecutor(STARTERS) as starters:
        handles = list(starters.map(lambda value: DBOS.start_workflow(three_steps, value), [1] * count))
    if any(handle.get_result() != 4 for handle in handles):
        raise RuntimeError("DBOS returned a wrong result")
    return time.perf_counter() - began


def main(seconds: float) -> dict[str, float]:
    DBOS(
        config={
            "name": "benchmarks",
            "system_database_url": os.environ["DATABASE_URL"],
            "log_level": "WARNING",
            "run_admin_server": False,
        }
    )
    DBOS.launch()
    run(WARM_UP)
    rate = WARM_UP / run(WARM_UP)
    count = max(WARM_UP, int(rate * seconds))
    print("ready", flush=True)
    sys.stdin.readline()
    cpu = time.process_time()
    took = run(count)
    cpu = time.process_time() - cpu
    DBOS.destroy()
    return {"items": count, "seconds": took, "cpu": cpu}


if __name__ == "__main__":
    json.dump(main(float(sys.argv[1])), sys.stdout)
