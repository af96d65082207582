"""Recent inputs are checked against another release: whose submissions would be refused, and why. No value is shown."""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F

from executions.inspection import callers as checks
from executions.inspection.callers import Caller, Callers, callers
from executions.models import Execution
from executions.submission.submission import submit
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.raw_sql import unguarded

pytestmark = pytest.mark.django_db
ID = {"name": "id", "type": {"kind": "scalar", "id": "string"}}
PRICE = {"name": "price", "type": {"kind": "scalar", "id": "decimal"}}
NOTES = {"name": "notes", "type": {"kind": "map", "key": "string", "value": {"kind": "scalar", "id": "string"}}}
NUMBERS = {"name": "notes", "type": {"kind": "map", "key": "string", "value": {"kind": "scalar", "id": "integer"}}}
SECRET = "4111-1111"


def order(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"Order": {"definition": {"id": "Order", "kind": "record", "fields": list(fields)}}}


@pytest.fixture(scope="module")
def first_release(module_world: None) -> Release:
    return making.ready(canonicalTypes=order(ID, {**PRICE, "optional": True}))[1]


@pytest.fixture
def strict(owner: Tenant) -> Release:
    """A release that requires a price."""
    return making.registered(owner, "2.0", canonicalTypes=order(ID, PRICE))


def send(owner: Tenant, key: str, value: Any, actor: str = "token:shop", **more: Any) -> Execution:
    made = submit(owner, pipeline_id=making.PIPELINE, input=value, idempotency_key=key, actor=actor, **more)
    return made.execution


def ages(days: float, *executions: Execution) -> None:
    with unguarded(Execution):
        rows = Execution.objects.filter(pk__in=[each.pk for each in executions])
        rows.update(created_at=F("created_at") - timedelta(days=days))


def by_name(found: Callers) -> dict[str, Caller]:
    return {each.name: each for each in found.callers}


def counts(found: Callers) -> dict[str, tuple[int, int]]:
    """Return how many executions each caller has, and how many of them were checked."""
    return {each.name: (each.executions, each.checked) for each in found.callers}


def met(caller: Caller) -> list[tuple[str, str]]:
    return [(each.path, each.rule) for each in caller.examples]


def test_a_caller_whose_inputs_would_be_refused_is_named_with_an_example(
    owner: Tenant, active: Release, strict: Release
) -> None:
    old = [send(owner, f"old-{n}", {"id": SECRET}) for n in range(3)]
    send(owner, "new", {"id": "a", "price": "1.50"}, actor="token:app")
    found = callers(strict, active)
    assert (found.submissions, found.count, found.sampled, found.checked, found.failing) == (4, 2, 4, 4, 3)
    shop, app = found.callers
    assert (shop.name, shop.executions, shop.checked, shop.failing) == ("token:shop", 3, 3, 3)
    [example] = shop.examples
    assert (example.path, example.rule) == ("input.price", "is required")
    assert example.execution_id in {each.pk for each in old}
    assert (app.name, app.checked, app.failing, app.examples) == ("token:app", 1, 0, [])
    assert SECRET not in repr(found)


def test_names_that_are_values_are_not_shown(owner: Tenant) -> None:
    active = making.active(owner, "1.1", canonicalTypes=order(ID, NOTES))
    making.worker(active, "w")
    after = making.registered(owner, "2.0", canonicalTypes=order(NUMBERS))
    send(owner, "k", {"id": "a", "notes": {SECRET: SECRET}})
    [caller] = callers(after, active).callers
    assert met(caller) == [("input.notes{}", "must be an integer")]
    assert SECRET not in repr(caller)
    send(owner, "l", {"id": "a", "notes": {}})
    [caller] = callers(after, active).callers
    assert ("input.id", "is not a member of the type") in met(caller)


def test_only_the_pipelines_last_days_and_for_the_rate_its_last_hour_count(
    owner: Tenant, active: Release, strict: Release
) -> None:
    old = send(owner, "old", {"id": "a"}, actor="token:gone")
    recent = send(owner, "recent", {"id": "a"}, actor="token:here")
    ages(checks.DAYS + 0.1, old)
    ages(checks.DAYS - 0.1, recent)
    send(owner, "now", {"id": "a"}, actor="token:here")
    making.worker(making.active(owner, pipeline_id="org.example.other"), "other")
    submit(owner, pipeline_id="org.example.other", input={}, idempotency_key="k", actor="token:other")
    send(making.ready()[0], "k", {})
    found = callers(strict, active)
    assert counts(found) == {"token:here": (2, 2)}
    assert found.per_minute == pytest.approx(1 / 60)
