"""The pages of the admin, as the web process renders them for a superuser."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import psycopg
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

from benchmarks import admin_pages
from benchmarks.costs.installation import TENANT
from benchmarks.costs.measuring import Work
from benchmarks.costs.world import World, claim_due, failed_outcome, request
from executions.lifecycle import outcome
from executions.transports.celery import identity_of
from wire.messages.celery_messages import OutcomeGroup

MODULE = "three_steps"


def all_pages(world: World, connection: psycopg.Connection) -> Iterator[Work]:
    """Yield each page. `connection` may read the tables."""
    call_command("collectstatic", interactive=False, verbosity=0)
    _make_rows(world)
    client = Client(headers={"host": "127.0.0.1:8000"})
    client.force_login(User.objects.get(username=TENANT))
    cookies = {"HTTP_COOKIE": client.cookies.output(header="", sep=";")}
    addresses = admin_pages.addresses(connection, "benchmarks.three-steps")
    pages = {name: addresses[name] for name in ("executions", *admin_pages.PAGES)}
    pages["question"] = f"executions/interaction/{world.asked().pk}/change/"

    def open_page(address: str, _: Any) -> None:
        request("GET", f"/admin/{address}", b"", cookies)

    for name, address in sorted(pages.items()):
        yield Work(f"page, {name}", partial(open_page, address), warm_up=1, times=2)


def _make_rows(world: World) -> None:
    """Make the rows that the pages show: a second release, an execution that succeeded, and one that failed."""
    world.register(MODULE, "5")
    world.drain()
    world.submit(MODULE, key="order-10")
    world.complete(claim_due(1))
    world.submit(MODULE, key="order-20")
    [claim] = claim_due(1)
    group = OutcomeGroup(worker_id=TENANT, outcomes=[failed_outcome(claim, retryable=False)])
    outcome.record(identity_of(claim), group)
