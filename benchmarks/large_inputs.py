"""Large inputs that arrive faster than they are stored: their duration, and the memory of the web processes."""

import os
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from benchmarks.plan import Plan
from benchmarks.product_under_test import ProductUnderTest
from benchmarks.report import Measure, Report
from benchmarks.running_product import TENANT
from embedded.guard import descendants

LONG_TEXT = "long_text"
INPUTS = 120
INPUT_BYTES = 5_000_000
INPUTS_PER_SECOND = 20
MOST_TRIES = 100
MB = 1_000_000


class Memory(threading.Thread):
    """Samples the resident memory of the web processes, in bytes, until `stop`."""

    def __init__(self, product: ProductUnderTest) -> None:
        super().__init__(daemon=True)
        [self._web] = [child for child in product.product.children.started if child.name == "web"]
        self._stopped = threading.Event()
        self.peak = 0

    def now(self) -> int:
        return sum(_resident(pid) for pid in descendants(self._web.guard_pid))

    def run(self) -> None:
        while not self._stopped.wait(0.05):
            self.peak = max(self.peak, self.now())

    def stop(self) -> int:
        """Stop sampling and return the peak in bytes."""
        self._stopped.set()
        self.join()
        return self.peak


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0  # it has ended


class Submitter:
    """Submits like a client that waits and retries after a 503 response."""

    def __init__(self, product: ProductUnderTest) -> None:
        self._url = f"{product.product.url}/api/v1/tenants/{TENANT}/executions"
        self._headers = {"Authorization": f"Bearer {product.token}", "Content-Type": "application/json"}
        self._pipeline = product.pipeline_id(LONG_TEXT)
        self.statuses: Counter[int] = Counter()

    def submit(self, key: str, text: str) -> float:
        """Submit and return the seconds until the submission was accepted."""
        body = f'{{"pipelineId":"{self._pipeline}","idempotencyKey":"{key}","input":"{text}"}}'.encode()
        began = time.perf_counter()
        for _ in range(MOST_TRIES):
            response = requests.post(self._url, body, headers=self._headers, timeout=300)
            self.statuses[response.status_code] += 1
            if response.status_code != 503:
                response.raise_for_status()
                return time.perf_counter() - began
            time.sleep(float(response.headers.get("Retry-After", 1)))
        raise RuntimeError(f"{key} got 503 {MOST_TRIES} times")


def large_inputs(report: Report, plan: Plan) -> None:
    """Measure 11. The memory of the web processes is bounded while large inputs arrive, and released afterwards."""
    text = os.urandom(INPUT_BYTES // 2).hex()
    with ProductUnderTest(MAX_REQUEST_BYTES=str(6 * 1024**2)) as product:
        product.host(LONG_TEXT)
        submitter = Submitter(product)
        with ThreadPoolExecutor(64) as pool:  # so that every thread has served a request
            list(pool.map(lambda number: submitter.submit(f"small-{number}", "short"), range(1000)))
        memory = Memory(product)
        before, after = [memory.now() / MB], []
        memory.start()
        for round_ in range(plan.rounds):
            submitter.statuses.clear()
            with ThreadPoolExecutor(INPUTS) as pool:
                pending = []
                for number in range(INPUTS):
                    pending.append(pool.submit(submitter.submit, f"large-{round_}-{number}", text))
                    time.sleep(1 / INPUTS_PER_SECOND)
                seconds = sorted(call.result() for call in pending)
            product.ledger.wait_until_idle(product.pipeline_id(LONG_TEXT))
            after.append(memory.now() / MB)
            report.say(
                f"{INPUTS} inputs of {INPUT_BYTES / MB:g} MB: p50 {seconds[INPUTS // 2]:.1f} s, "
                f"slowest {seconds[-1]:.1f} s, responses {dict(submitter.statuses)}; web processes "
                f"{before[0]:,.0f} MB before, {memory.peak / MB:,.0f} MB at most, {after[-1]:,.0f} MB afterwards"
            )
        memory.stop()
    report.add(Measure("memory after large inputs : before", after, before, "MB", 2.0, "at most"))
