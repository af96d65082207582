"""Cursor pages over rows with equal creation times contain each row exactly once."""

import base64
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from executions.models import Execution
from tests import making
from tests.api.tenant_api import TenantApi, refused, tenant_api
from tests.cases import cases

pytestmark = pytest.mark.django_db


@pytest.fixture
def crowded() -> TenantApi:
    """A tenant with 40 executions that have the same creation time, as a batch creates them."""
    made = tenant_api()
    making.copies(made.execution, 39)
    assert Execution.objects.values("created_at").distinct().count() == 1
    return made


def pages(of: TenantApi, link: str | None, way: str) -> tuple[list[list[str]], str]:
    """Return the executions of each page and the URL of the last page."""
    found, last = [], ""
    while link is not None:
        last = link.removeprefix("http://testserver")
        page: dict[str, Any] = of.call("GET", last).json()
        found.append([item["executionId"] for item in page["items"]])
        link = page[way]
    return found, last


@cases("size", [1, 7, 20, 40, 500])
def test_pages_in_both_directions_contain_every_row_once_in_order(crowded: TenantApi, size: int) -> None:
    ids = [str(pk) for pk in Execution.objects.order_by("-created_at", "-id").values_list("pk", flat=True)]
    assert len(ids) == 40
    there, last = pages(crowded, crowded.url("executions") + f"?pageSize={size}", "next")
    assert [each for page in there for each in page] == ids
    assert {len(page) for page in there[:-1]} <= {size}
    back, _ = pages(crowded, last, "previous")
    assert [each for page in reversed(back) for each in page] == ids


def test_rows_that_are_created_meanwhile_move_no_page(crowded: TenantApi) -> None:
    ids = set(Execution.objects.values_list("pk", flat=True))
    first = crowded.get("executions?pageSize=15").json()
    making.execution(crowded.tenant, "later")
    shown = [item["executionId"] for item in first["items"]]
    shown += [each for page in pages(crowded, first["next"], "next")[0] for each in page]
    assert len(shown) == len(set(shown))
    assert {str(pk) for pk in ids} <= set(shown)


@cases("position", ["2026-01-01", '["2026-01-01"]', '["x","y"]', "[{},[]]", "[null,null]", "7", "[["])
def test_a_forged_position_is_rejected(crowded: TenantApi, position: str) -> None:
    cursor = quote(base64.b64encode(urlencode({"p": position}).encode()).decode())
    refused(crowded.get(f"executions?cursor={cursor}"), 400, "INVALID_REQUEST")
