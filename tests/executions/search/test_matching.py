"""A search finds exactly the executions that fulfil all its conditions, in the tenants that it may see."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from executions.models import Execution, Worker
from executions.search.conditions import Search
from executions.search.matching import MOST_RARE, matching
from tenancy.access import issue_token
from tenancy.models import Membership, Tenant
from tenancy.roles import Role, Scope
from tests import making
from tests.cases import cases
from tests.executions.search.conftest import KEYS, at

pytestmark = pytest.mark.django_db
Rows = dict[str, Execution]


def found(tenants: list[Tenant], person: User | None = None, **conditions: Any) -> list[str]:
    return [row.execution_key for row in matching(tenants, Search(**conditions), person=person)]


@cases(
    ("conditions", "keys"),
    [
        ({}, list(KEYS)),
        ({"status": "live"}, ["claimed", "running", "asks", "queued", "other"]),
        ({"status": "failed"}, ["failed", "dlq"]),
        ({"status": "held"}, ["claimed", "running"]),
        ({"status": "CLAIMED"}, ["claimed"]),
        ({"status": "RUNNING"}, ["running"]),
        ({"status": "SUCCEEDED"}, ["ok"]),
        ({"pipeline_id": "org.example.other"}, ["other"]),
        ({"release_version": "2.0"}, ["queued"]),
        ({"release_version": "9.0"}, []),
        ({"error_code": "TIMEOUT"}, ["dlq"]),
        ({"step": 1}, ["failed"]),
        ({"step": 0, "status": "failed"}, ["dlq"]),
        ({"step": 0, "pipeline_id": "org.example.other"}, ["other"]),
        ({"since": at(6)}, ["queued", "other"]),
        ({"until": at(1)}, ["ok"]),
        ({"ended_since": at(20)}, ["failed", "dlq"]),
        ({"tag": "k=v"}, ["ok"]),
        ({"smoke": True}, []),
        ({"smoke": False, "submitted_by": "user:eva"}, ["ok", "failed"]),
        ({"text": "o"}, ["ok", "other"]),
        ({"text": "O"}, []),
        ({"text": "o", "pipeline_id": "org.example.other"}, ["other"]),
        ({"text": "%"}, []),
        ({"tenant": "another"}, []),
    ],
)
def test_a_search_finds_what_fulfils_all_its_conditions_newest_first(
    rows: Rows, conditions: dict[str, Any], keys: list[str]
) -> None:
    assert found([rows["ok"].tenant], **conditions) == keys[::-1]


def test_the_beginning_of_an_id_finds_it(rows: Rows) -> None:
    row = rows["ok"]
    for text in (str(row.pk), str(row.pk).upper(), row.pk.hex):
        assert found([row.tenant], text=text) == ["ok"]
    assert "ok" in found([row.tenant], text=str(row.pk)[:4])
    assert found([row.tenant], text=str(row.pk)[:3]) == []


def test_only_what_the_tenants_have_is_found_in_the_order_of_ids(rows: Rows) -> None:
    stranger, tenant = making.tenant("other"), rows["ok"].tenant
    assert found([stranger]) == found([stranger], text=str(rows["ok"].pk)) == found([stranger], tag="k=v") == []
    assert found([stranger, tenant]) == list(KEYS)[::-1]


def test_my_executions_are_those_that_i_or_my_tokens_submitted(rows: Rows) -> None:
    tenant, eva = rows["ok"].tenant, User.objects.create_user("eva")
    other = making.tenant("other")
    for each in (tenant, other):
        Membership.objects.create(user=eva, tenant=each, role=Role.OPERATOR)
    issue_token(other, eva, "app", [Scope.READ], lifetime=None)
    assert found([tenant], eva, submitted_by="me") == ["failed", "ok"]
    issue_token(tenant, eva, "app", [Scope.READ], lifetime=None)
    assert found([tenant], eva, submitted_by="me") == list(KEYS)[::-1]


def test_what_waits_for_a_worker_is_found(rows: Rows) -> None:
    tenant = rows["ok"].tenant
    assert found([tenant], stranded=True) == []
    making.silence(*Worker.objects.all())
    assert found([tenant], stranded=True) == ["other", "queued"]
    assert found([tenant], stranded=False, status="live") == ["asks", "running", "claimed"]


def test_common_tags_are_found_in_the_tenant_alone(rows: Rows) -> None:
    other, _ = making.ready()
    for tenant in (rows["ok"].tenant, other):
        making.copies(making.execution(tenant, "first"), MOST_RARE + 1, tags=["common"])
    common = matching([other], Search(tag="common"))
    assert (len(common), {row.tenant for row in common}) == (MOST_RARE + 1, {other})
