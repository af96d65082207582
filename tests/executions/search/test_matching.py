"""A search finds exactly the executions that fulfil all its conditions, in the tenants that it may see."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from executions.models import DeadLetter, Execution, Worker
from executions.search.conditions import STATUSES, Search
from executions.search.matching import MOST_RARE, matching
from tenancy.access import issue_token
from tenancy.models import Membership, Tenant
from tenancy.roles import Role, Scope
from tests import making
from tests.executions.search import mixed

pytestmark = pytest.mark.django_db
BEGINNING = "01a2c"
"""Of the ids of some rows."""
TIMES = st.integers(0, 62).map(lambda hour: mixed.START + timedelta(hours=hour))


def found(tenants: list[Tenant], **conditions: Any) -> list[Execution]:
    return list(matching(tenants, Search(**conditions)))


@pytest.fixture(scope="module")
def rows(module_world: None) -> list[Execution]:
    return mixed.make()


SEARCHES = st.builds(
    Search,
    status=st.none() | st.sampled_from(sorted(STATUSES)),
    pipeline_id=st.none() | st.sampled_from((*mixed.PIPELINES, "none")),
    release_version=st.none() | st.sampled_from(("1.0", "2.0")),
    error_code=st.none() | st.sampled_from(("NO_FUNDS", "TIMEOUT", "none")),
    step=st.none() | st.integers(0, 3),
    since=st.none() | TIMES,
    until=st.none() | TIMES,
    ended_since=st.none() | TIMES,
    tag=st.none() | st.sampled_from(("k=v", "k=w", "x", "k")),
    smoke=st.none() | st.booleans(),
    submitted_by=st.none() | st.sampled_from((*mixed.PEOPLE, "none")),
    text=st.none() | st.sampled_from(("order-", "Order-1", "100%", "100_", "ör", "order-12", "none", BEGINNING, "0")),
    tenant=st.none() | st.sampled_from(("owner", "other")),
)


def test_a_search_finds_what_the_model_finds_newest_first(rows: list[Execution]) -> None:
    tenant = rows[0].tenant
    letters = dict(DeadLetter.objects.values_list("execution", "failed_step_index"))
    made = {row.pk for row in rows}

    @settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
    @given(SEARCHES)
    def check(search: Search) -> None:
        shown = [row for row in matching([tenant], search) if row.pk in made]
        expected = {row.pk for row in rows if mixed.matches(row, letters.get(row.pk), search)}
        assert {row.pk for row in shown} == expected
        assert shown == sorted(shown, key=lambda row: (row.created_at, row.pk), reverse=True)

    check()


def test_only_what_the_tenants_have_is_found_in_the_order_of_ids(rows: list[Execution]) -> None:
    stranger = making.tenant("other")
    assert found([stranger]) == found([stranger], text=str(rows[0].pk)) == found([stranger], tenant="owner") == []
    ids = [row.pk for row in found([stranger, rows[0].tenant])]
    assert (len(ids), ids) == (len(rows) + 1, sorted(ids, reverse=True))
    assert found([rows[0].tenant], smoke=True) == []


def test_my_executions_are_those_that_i_or_my_tokens_submitted(rows: list[Execution]) -> None:
    tenant, eva = rows[0].tenant, User.objects.create_user("eva")
    Membership.objects.create(user=eva, tenant=tenant, role=Role.OPERATOR)
    other = making.tenant("other")
    Membership.objects.create(user=eva, tenant=other, role=Role.OPERATOR)
    own = set(matching([tenant], Search(submitted_by="me"), person=eva))
    assert {row.submitted_by for row in own} == {"user:eva"}
    issue_token(other, eva, "app", [Scope.READ], lifetime=None)
    assert set(matching([tenant], Search(submitted_by="me"), person=eva)) == own
    issue_token(tenant, eva, "app", [Scope.READ], lifetime=None)
    more = matching([tenant], Search(submitted_by="me"), person=eva)
    assert {row.submitted_by for row in more} == {"user:eva", "token:app"}


def test_what_waits_for_a_worker_is_found() -> None:
    owner, _ = making.ready()
    waiting = making.execution(owner)
    assert list(matching([owner], Search(stranded=True))) == []
    making.silence(*Worker.objects.all())
    assert list(matching([owner], Search(stranded=True))) == [waiting]
    assert list(matching([owner], Search(stranded=False))) == []


def test_common_and_rare_tags_are_found_in_the_tenant_alone() -> None:
    (owner, _), (other, _) = making.ready(), making.ready()
    for tenant in (owner, other):
        first = making.execution(tenant, "first")
        making.copies(first, MOST_RARE + 1, tags=["common"])
        for key in ("rare-1", "rare-2"):
            making.copies(first, 1, execution_key=key, tags=["rare"])
    for tag, count in (("common", MOST_RARE + 1), ("rare", 2), ("none", 0)):
        rows = found([owner], tag=tag)
        assert len(rows) == count
        assert {(row.tenant_id, *(row.tags or [])) for row in rows} <= {(owner.pk, tag)}
    assert len(found([owner, other], tag="rare")) == 4
