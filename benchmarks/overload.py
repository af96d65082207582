"""The latency of another tenant, and of the overview, while one tenant sends far more requests than can be served."""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Final

import requests

from benchmarks import load
from benchmarks.load_client import Account, Task
from benchmarks.plan import Plan
from benchmarks.product_under_test import ProductUnderTest
from benchmarks.report import Measure, Report
from benchmarks.running_product import THREE_STEPS, SubmissionMode

QUIET: Final = "quiet"
CONNECTIONS: Final = 144
"""Each sends its next request at once, so these are three times as many as use the whole capacity."""
SUBMISSION_SECONDS: Final = 0.3
OVERVIEW_SECONDS: Final = 0.5
PAUSE_SECONDS: Final = 0.1

PASSWORD: Final = "a long password of the benchmark"  # noqa: S105 - of servers that end with the run
TIMEOUT_SECONDS: Final = 60


class Console:
    """A person who is logged in to the admin of a product."""

    def __init__(self, product: ProductUnderTest) -> None:
        product.product.manage(
            "createsuperuser",
            "--username=reader",
            "--email=reader@example.org",
            "--noinput",
            DJANGO_SUPERUSER_PASSWORD=PASSWORD,
        )
        self._url = f"{product.product.url}/admin/"
        self._http = requests.Session()
        form = self._http.get(f"{self._url}login/", timeout=TIMEOUT_SECONDS)
        match = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form.text)
        fields = {"username": "reader", "password": PASSWORD, "csrfmiddlewaretoken": match[1] if match else ""}
        self._http.post(f"{self._url}login/", fields, headers={"Referer": self._url}, timeout=TIMEOUT_SECONDS)

    def seconds(self, address: str) -> float:
        """Return how long the page takes. Raises `RuntimeError` if it is not shown."""
        began = time.perf_counter()
        answer = self._http.get(self._url + address, timeout=TIMEOUT_SECONDS, allow_redirects=False)
        taken = time.perf_counter() - began
        if answer.status_code != 200:
            raise RuntimeError(f"{address} responded with {answer.status_code}")
        return taken


def overload(report: Report, plan: Plan) -> None:
    """Measure 12. The targets are absolute: a person or service that waits does not care about ratios."""
    with ProductUnderTest() as product:
        report.say("The product is up")
        product.host(THREE_STEPS)
        token = product.host_for(QUIET, THREE_STEPS)
        console = Console(product)
        submit = _submitter(product, token)
        for measured in (submit, lambda: console.seconds("")):
            measured()
        for _ in range(plan.rounds):
            task, _ = product.task(THREE_STEPS, 1_000_000, SubmissionMode(CONNECTIONS))
            accounts: list[Account] = []
            flood = threading.Thread(target=_offer, args=[replace(task, seconds=plan.seconds), accounts])
            flood.start()
            time.sleep(1)
            submissions, overviews = _times(flood, submit, lambda: console.seconds(""))
            flood.join()
            report.say(f"The flood: {accounts[0].statuses}, {accounts[0].accepted / plan.seconds:,.0f}/s accepted")
            report.add(Measure("submission of another tenant", submissions, [SUBMISSION_SECONDS], "s", 1.0, "at most"))
            report.add(Measure("overview", overviews, [OVERVIEW_SECONDS], "s", 1.0, "at most"))
            report.say(f"Others: {median(submissions):.3f} s a submission, {median(overviews):.3f} s an overview")


def _offer(task: Task, accounts: list[Account]) -> None:
    accounts.append(load.offer(task))


def _submitter(product: ProductUnderTest, token: str) -> Callable[[], float]:
    """Return a function that submits one execution of the quiet tenant, and returns how long that takes."""
    http = requests.Session()
    http.headers["Authorization"] = f"Bearer {token}"
    url = f"{product.product.url}/api/v1/tenants/{QUIET}/executions"

    def submit() -> float:
        key = f"k{time.monotonic_ns()}"
        body = {"pipelineId": product.pipeline_id(THREE_STEPS), "input": 1, "idempotencyKey": key}
        began = time.perf_counter()
        response = http.post(url, json=body, timeout=60)
        taken = time.perf_counter() - began
        if response.status_code != 202:
            raise RuntimeError(f"A submission got {response.status_code}: {response.text}")
        return taken

    return submit


def _times(flood: threading.Thread, *measured: Callable[[], float]) -> list[list[float]]:
    """Call each function in turn until the flood ends, and return what each returned."""
    seconds: list[list[float]] = [[] for _ in measured]
    while flood.is_alive():
        for times, call in zip(seconds, measured, strict=True):
            times.append(call())
            time.sleep(PAUSE_SECONDS)
    return seconds
