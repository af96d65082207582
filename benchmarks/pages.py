"""The time of each page of the admin with a million executions, compared with a thousand."""

import re
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, Final

import requests

from benchmarks import month, past
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
LIST: Final = "executions/execution/"
FILTERS: Final = {
    "": "",
    "page 5": "p=5",
    "oldest page": "until=29d",
    "live": "status=live",
    "failed": "status=failed",
    "succeeded": "status=SUCCEEDED",
    "cancelled": "status=CANCELLED",
    "waiting": "status=WAITING_EXTERNAL",
    "pipeline": "pipeline={pipeline}",
    "release": "release=5",
    "old release": "release=1",
    "error": "error=Error0",
    "step": "step=1",
    "since": "since=7d",
    "ended": "ended=7d",
    "failed and ended": "status=failed&ended=29d",
    "rare tag": "tag=order-500",
    "tag": "tag=customer-7",
    "common tag": "tag=region-1",
    "smoke tests": "smoke=yes",
    "no smoke tests": "smoke=no",
    "by": "by=token:shop-1",
    "by me": "by=me&since=7d",
    "stranded": "stranded=yes",
    "key": "q=order-20",
    "beginning of the keys": "q=order-",
    "id": "q={dead}",
    "nothing": "q=no-such-key",
    "three conditions": "status=failed&error=Error0&release=3",
    "all columns": "columns=key,status,error,step,duration,release,tags",
}
"""Searches in the list of executions, by name. The last one comes last because the list remembers its columns."""
PAGES: Final = {
    "overview": "",
    "palette": "search/?q=order-20&part=1",
    "pipelines": "releases/pipeline/",
    "pipeline": "releases/pipeline/{pipeline_key}/change/",
    "comparison": "releases/pipeline/{pipeline_key}/compare/?from=1&to=5",
    "releases": "releases/release/",
    "release": "releases/release/{release}/change/",
    "active release": "releases/release/{active}/change/",
    "activate": "releases/release/{release}/activate/",
    "roll back": "releases/release/{active}/activate/",
    "requests": "releases/activationrequest/",
    "trusted keys": "releases/trustedkey/",
    "upload": "releases/release/upload/",
    "execution": LIST + "{done}/change/",
    "execution live": LIST + "{done}/live/",
    "failed execution": LIST + "{dead}/change/",
    "payload": LIST + "{done}/payloads/input.json",
    "compare executions": LIST + "{done}/compare/?with={dead}",
    "re-drive": LIST + "{dead}/redrive/",
    "resubmit": LIST + "{dead}/resubmit/",
    "failure groups": "executions/failuregroup/",
    "failure group": "executions/failuregroup/{group}/change/",
    "dead letters": "executions/deadletter/",
    "dead letters of an error": "executions/deadletter/?error=Error0",
    "dead letter": "executions/deadletter/{letter}/change/",
    "questions": "executions/interaction/",
    "workers": "executions/worker/",
    "worker": "executions/worker/{worker}/change/",
    "campaigns": "executions/campaign/",
    "start a campaign": "executions/campaign/start/",
    "paused": "executions/hold/",
    "smoke tests": "executions/smoketest/",
    "audit log": "tenancy/auditentry/",
    "tenants": "tenancy/tenant/",
    "tokens": "tenancy/apitoken/",
    "account": "auth/user/account/",
}
_OBJECTS = """
SELECT p.pipeline_id AS pipeline, p.id AS pipeline_key, active.id AS active, newest.id AS release, done.id AS done,
    dead.id AS dead, l.id AS letter, l.group_id AS "group", w.id AS worker
FROM releases_pipeline p
JOIN releases_release active ON active.pipeline_id = p.id AND active.release_version = '1'
JOIN releases_release newest ON newest.pipeline_id = p.id AND newest.release_version = '5'
JOIN executions_execution done ON done.pipeline_id = p.pipeline_id AND done.execution_key = 'order-10'
JOIN executions_execution dead ON dead.pipeline_id = p.pipeline_id AND dead.execution_key = 'order-20'
JOIN executions_deadletter l ON l.execution_id = dead.id
CROSS JOIN executions_worker w WHERE p.pipeline_id = %s LIMIT 1
"""


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


def addresses(product: ProductUnderTest) -> dict[str, str]:
    """Return the address of each page below `/admin/`, by name."""
    cursor = product.ledger.connection.execute(_OBJECTS.encode(), [product.pipeline_id(THREE_STEPS)])
    row, names = cursor.fetchone(), [column.name for column in cursor.description or ()]
    if row is None:
        raise RuntimeError("The rows that the pages show are missing.")
    objects: dict[str, Any] = dict(zip(names, row, strict=True))
    searches = {f"executions, {name}" if name else "executions": f"{LIST}?{query}" for name, query in FILTERS.items()}
    return {name: address.format(**objects) for name, address in {**PAGES, **searches}.items()}


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
            sides.append((Console(product), addresses(product)))
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
