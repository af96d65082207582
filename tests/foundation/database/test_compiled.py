from typing import Any

import pytest
from django.db import connection
from django.db.models import F, QuerySet
from django.test.utils import CaptureQueriesContext

from executions.models import Execution
from foundation.database import prepared
from foundation.database.compiled import Compiled
from tests import making

pytestmark = pytest.mark.django_db


def by_key(tenant: int, key: str) -> QuerySet[Execution]:
    rows = Execution.objects.filter(tenant_id=tenant, execution_key=key, input_shape="UNI")
    return rows.select_related("tenant", "release__pipeline").annotate(slug=F("tenant__slug")).defer("result")


def members(row: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(row).items() if name != "_state"}


def test_the_rows_are_those_of_the_queryset_with_all_that_it_joins_and_defers() -> None:
    owners = [making.ready()[0] for _ in range(2)]
    for owner in owners:
        making.execution(owner, "one", {"name": "\u00e9"})
        making.execution(owner, "two", [1, None])
    compiled = Compiled(by_key, tenant=-1, key="?")
    for owner in owners:
        for key in ("one", "two", "three"):
            with CaptureQueriesContext(connection) as queries:
                found, expected = compiled.rows(tenant=owner.pk, key=key), list(by_key(owner.pk, key))
            assert len(queries) == 2
            assert list(map(members, found)) == list(map(members, expected))
            assert [members(row.release.pipeline) for row in found] == [
                members(row.release.pipeline) for row in expected
            ]
            assert [row.get_deferred_fields() for row in found] == [{"result"}] * len(expected)
    assert compiled.first(tenant=owners[0].pk, key="three") is None


def test_a_parameter_that_the_sql_does_not_contain_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="key"):
        Compiled(lambda tenant, key: Execution.objects.filter(tenant_id=tenant), tenant=-1, key="?").rows(
            tenant=1, key="a"
        )


def test_the_database_plans_a_statement_once_for_all_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "KEPT_SECONDS", 10**6)  # a new period begins
    with prepared.cursor() as cursor:
        for number in range(3):
            cursor.execute("SELECT %(number)s::int", {"number": number})
        cursor.execute("SELECT sum(custom_plans) FROM pg_prepared_statements", {})
        assert cursor.fetchall() == [(0,)]
