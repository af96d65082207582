"""The time of each page of the admin with a million executions, compared with a thousand."""

import re
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Final

import requests

from benchmarks import admin_pages, month, past
from benchmarks.plan import Plan
from benchmarks.product_under_test import ProductUnderTest
from benchmarks.report import Measure, Report
from benchmarks.running_product import TENANT, THREE_STEPS

FEW: Final = 1_000
MANY: Final = 1_000_000
SAMPLES: Final = 7
MOST: Final = 2.0
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
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form.text)
        fields = {"username": "reader", "password": PASSWORD, "csrfmiddlewaretoken": found[1] if found else ""}
        self._http.post(f"{self._url}login/", fields, headers={"Referer": self._url}, timeout=TIMEOUT_SECONDS)

    def seconds(self, address: str) -> float:
        """Return how long the page takes. Raises `RuntimeError` if it is not shown."""
        began = time.perf_counter()
        answer = self._http.get(self._url + address, timeout=TIMEOUT_SECONDS, allow_redirects=False)
        taken = time.perf_counter() - began
        if answer.status_code != 200:
            raise RuntimeError(f"{address} responded with {answer.status_code}")
        return taken


def pages(report: Report, plan: Plan) -> None:
    """Measure 11: two products, one with few finished executions and one with many. Each page is read in turn."""
    settings = {"WEB_DISPATCHES": "false"}
    many = min(plan.rows, MANY)
    with ProductUnderTest(**settings) as small, ProductUnderTest(**settings) as large:
        sides = []
        for rows, product in ((FEW, small), (many, large)):
            product.host(THREE_STEPS)
            past.finished_template(product)
            month.load(product, rows, report.say if rows > FEW else _silent)
            found = admin_pages.addresses(product.ledger.connection, product.pipeline_id(THREE_STEPS))
            sides.append((Console(product), found))
        report.say(f"{TENANT} has {FEW:,} and {many:,} executions")
        for name in sides[0][1]:
            few, more = _milliseconds([(console, found[name]) for console, found in sides])
            report.add(Measure(f"{name}: {many:,} : {FEW:,}", more, few, "ms", MOST, "at most"))
            report.say(f"{name}: {median(more):.1f} ms, {median(more) / median(few):.2f} times")


def _milliseconds(sides: Sequence[tuple[Console, str]]) -> list[list[float]]:
    """Return the times of a page on each side, in turn. The first ones only warm up the caches."""
    rounds = [[console.seconds(address) * 1e3 for console, address in sides] for _ in range(SAMPLES + 1)]
    return [list(times) for times in zip(*rounds[1:], strict=True)]


_silent: Callable[[str], None] = lambda _: None  # noqa: E731 - what is said of the few rows
