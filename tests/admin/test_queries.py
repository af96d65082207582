"""No page makes more than 25 queries, and ten times the rows add none."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from executions.models import Execution
from releases.models import Release
from tenancy import audit
from tests import making
from tests.admin.conftest import LogIn, World
from tests.admin.filled import fill
from tests.admin.test_who_may_open_what import PAGES

MOST = 25
RENEWAL = ("SAVEPOINT", "RELEASE SAVEPOINT", 'UPDATE "django_session"')
"""The statements that renew a session, about once a minute."""
FEW, MANY = range(1), range(1, 10)
SUPERUSERS = tuple(page for page, (_, who, _) in PAGES.items() if who == ("superuser",))


def worlds(acme: World) -> Mapping[str, World]:
    """Return the tenant as its pages show it: its active release, and one that could replace it."""
    newer = Release.objects.filter(pipeline=acme.release.pipeline_id, status="REGISTERED").order_by("-pk")[0]
    asking = Execution.objects.get(execution_key="asks-0")
    return {"": acme, " of another release": replace(acme, release=newer, execution=asking)}


def addresses(acme: World) -> dict[str, str]:
    """Return the address of each page, and create what it shows if it is missing."""
    found = {page + of: PAGES[page][0](world) for of, world in worlds(acme).items() for page in PAGES}
    other = Release.objects.get(pipeline__pipeline_id="acme.other-0", release_version="2.0")
    return {
        **found,
        "gradual activation": reverse("admin:releases_pipeline_change", args=[other.pipeline_id]),
        "activation of a candidate": reverse("admin:releases_release_activate", args=[other.pk]),
    }


def counted(client: Client, address: str) -> int:
    with CaptureQueriesContext(connection) as queries:
        answer = client.get(address)
        answer.getvalue()
    assert answer.status_code in {200, 204}, address
    return len([query for query in queries if not query["sql"].startswith(RENEWAL)])


@pytest.mark.timeout(300)
def test_no_page_makes_many_queries(log_in: LogIn, acme: World) -> None:
    clients = {who: log_in(who) for who in ("tenant-admin", "superuser")}

    def counts() -> dict[str, int]:
        with transaction.atomic():
            pages = addresses(acme)
            found = {
                f"{page} for {who}": counted(client, address)
                for who, client in clients.items()
                for page, address in pages.items()
                if who == "superuser" or not page.startswith(SUPERUSERS)
            }
            transaction.set_rollback(True)  # some addresses are those of paused things
        return found

    # The lists have a second page, and an activation checks more inputs than it reads at once.
    for number in range(101):
        audit.record("thing.change", tenant=acme.tenant, actor="user:test", object_type="thing", object=str(number))
        changes = {"execution_key": f"copy-{number}", "submitted_by": f"token:{number}"}
        making.copies(acme.execution, 1, next_due_at=timezone.now() + timedelta(days=1), **changes)
    fill(acme, FEW)
    before = counts()
    fill(acme, MANY)
    after = counts()
    assert {page: count for page, count in after.items() if count > MOST} == {}
    assert {page: (before[page], count) for page, count in after.items() if count > before[page]} == {}
