"""Recent inputs are checked against another release: whose submissions would be refused, and why. No value is shown."""

from typing import Any

import pytest

from executions.inspection.callers import Caller, callers
from executions.models import Execution
from releases.models import Release
from tenancy.models import Tenant
from tests import making

pytestmark = pytest.mark.django_db
ID = {"name": "id", "type": {"kind": "scalar", "id": "string"}}
PRICE = {"name": "price", "type": {"kind": "scalar", "id": "decimal"}}
NOTES = {"name": "notes", "type": {"kind": "map", "key": "string", "value": {"kind": "scalar", "id": "string"}}}
NUMBERS = {"name": "notes", "type": {"kind": "map", "key": "string", "value": {"kind": "scalar", "id": "integer"}}}
SECRET = "4111-1111"


def order(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"Order": {"definition": {"id": "Order", "kind": "record", "fields": list(fields)}}}


@pytest.fixture(scope="module")
def world(module_world: None) -> tuple[Tenant, Release]:
    return making.ready(canonicalTypes=order(ID, {**PRICE, "optional": True}))


@pytest.fixture
def strict(owner: Tenant) -> Release:
    return making.registered(owner, "2.0", canonicalTypes=order(ID, PRICE))


def send(owner: Tenant, key: str, value: Any, actor: str = "token:shop", **more: Any) -> Execution:
    return making.submitted(owner, key, value, actor=actor, **more).execution


def met(caller: Caller) -> list[tuple[str, str]]:
    return [(each.path, each.rule) for each in caller.examples]


def test_a_caller_whose_inputs_would_be_refused_is_named_with_an_example(
    owner: Tenant, release: Release, strict: Release
) -> None:
    old = [send(owner, f"old-{n}", {"id": SECRET}) for n in range(3)]
    send(owner, "new", {"id": "a", "price": "1.50"}, actor="token:app")
    found = callers(strict, release)
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
