"""No list and no page of an object makes more than 25 queries, and more rows add none."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tenancy import audit
from tests import making, signing
from tests.admin import pages
from tests.admin.conftest import World, log_in_as
from tests.admin.filled import fill
from tests.admin.named import named
from tests.admin.pages import READS

MOST = 25
RENEWAL = ("SAVEPOINT", "RELEASE SAVEPOINT", 'UPDATE "django_session"')
"""The statements that renew a session, about once a minute."""


def counted(client: Client, address: str) -> int:
    with CaptureQueriesContext(connection) as queries:
        response = client.get(address)
        response.getvalue()
    assert response.status_code in {200, 204, 302}, address
    return len([query for query in queries if not query["sql"].startswith(RENEWAL)])


@pytest.mark.timeout(300)
def test_no_page_makes_many_queries(acme: World, settings: Any) -> None:
    settings.PROVENANCE_KEY = signing.private_pem("coordinator")
    later = timezone.now() + timedelta(days=1)
    making.copies(acme.execution, 101, next_due_at=later)  # the lists have a second page
    for number in range(101):
        audit.record("thing.change", tenant=acme.tenant, actor="user:test", object_type="thing", object=str(number))
    fill(acme, range(1))
    names = named(acme)
    clients = {who: log_in_as(who) for who in ("tenant-admin", "superuser")}

    def counts() -> dict[str, int]:
        with transaction.atomic():
            found = {
                page: counted(clients["tenant-admin" if "tenant-admin" in who else "superuser"], pages.url(page, names))
                for page, who in READS.items()
                if re.match(r"index|\w+_change(list)?\b", page)
            }
            transaction.set_rollback(True)
        return found

    before = counts()
    fill(acme, range(1, 5))
    after = counts()
    assert {page: count for page, count in after.items() if count > MOST} == {}
    assert {page: (before[page], count) for page, count in after.items() if count > before[page]} == {}


def test_a_page_reads_the_roles_of_the_user_once(acme: World) -> None:
    client = log_in_as("viewer")
    with CaptureQueriesContext(connection) as queries:
        client.get(pages.url("releases_pipeline_change pipeline", {"pipeline": acme.release.pipeline_id}))
    statements = [query["sql"] for query in queries]
    assert len([sql for sql in statements if sql.startswith('SELECT "tenancy_membership"')]) == 1
    assert not [sql for sql in statements if sql.startswith("SELECT 1 ") and "tenancy_membership" in sql]


def test_no_list_counts_all_rows_or_reads_payloads(acme: World) -> None:
    client = log_in_as("viewer")
    for page, table in (("executions_execution", "executions_execution"), ("index", "executions_interaction")):
        with CaptureQueriesContext(connection) as queries:
            client.get(pages.url("index" if page == "index" else f"{page}_changelist", {}))
        statements = [query["sql"] for query in queries if table in query["sql"]]
        assert statements
        assert not [sql for sql in statements if "COUNT(" in sql and "LIMIT" not in sql]
        assert not [sql for sql in statements if '"input"' in sql or '"result"' in sql]
