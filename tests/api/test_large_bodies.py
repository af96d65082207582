"""Large request bodies share a budget of memory; small ones need none of it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from coordinator.api.body_budget import LARGE_BYTES, Budget, budget
from executions.models import Execution
from tests import making
from tests.api.house import House, everything, refused
from tests.building import eventually

pytestmark = pytest.mark.django_db
TEXT = "x" * LARGE_BYTES


def item(key: str, text: str = TEXT) -> dict[str, Any]:
    return {"pipelineId": making.PIPELINE, "input": {"text": text}, "idempotencyKey": key}


@pytest.fixture
def spent(settings: Any) -> Iterator[None]:
    """Others have taken the whole budget, and as many wait for it as may."""
    settings.LARGE_BODIES_BYTES = 1
    assert budget.take(1)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(budget.take, 1) for _ in range(4)]
        eventually(lambda: budget.waiting == 4, what="others that wait")
        yield
        settings.LARGE_BODIES_BYTES = 5
        budget.give_back(1)
        assert all(each.result() for each in waiting)
    budget.give_back(4)


def test_a_large_request_takes_from_the_budget_until_it_is_answered(ours: House) -> None:
    assert ours.post("executions", item("k")).status_code == 202
    assert ours.post("executions:batch", {"items": [item("a"), item("b")]}).status_code == 200
    assert ours.post("executions", {**item("k"), "pipelineId": "none"}).status_code == 404
    assert ours.post("executions", {**item("k"), "more": 1}).status_code == 400
    assert budget.taken == 0
    assert Execution.objects.get(execution_key="k").input == {"text": TEXT}


def test_a_large_request_is_refused_as_busy_while_the_budget_is_spent(ours: House, spent: None) -> None:
    token = ours.all_scopes
    before = everything()
    refused(ours.post("executions", item("k"), token=token), 503, "LARGE_REQUESTS_BUSY")
    refused(ours.post("executions:batch", {"items": [item("k")]}, token=token), 503, "LARGE_REQUESTS_BUSY")
    assert everything() == before


def test_a_small_request_needs_no_budget(ours: House, spent: None) -> None:
    assert ours.post("executions", item("k", "short")).status_code == 202
    assert ours.post("executions:batch", {"items": [item("l", "short")]}).status_code == 200


def test_a_body_beyond_its_limit_is_too_large_even_if_the_budget_is_spent(
    ours: House, spent: None, settings: Any
) -> None:
    settings.MAX_REQUEST_BYTES = settings.MAX_BATCH_BYTES = LARGE_BYTES
    refused(ours.post("executions", item("k")), 413, "PAYLOAD_TOO_LARGE")
    refused(ours.post("executions:batch", {"items": [item("k")]}), 413, "PAYLOAD_TOO_LARGE")


def test_a_waiting_request_gets_the_budget_that_others_return() -> None:
    shared = Budget(lambda: 10, seconds=30, most_waiting=1)
    assert shared.take(6)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(shared.take, 5)
        eventually(lambda: shared.waiting == 1, what="one that waits")
        assert not shared.take(5)
        assert shared.take(4)
        shared.give_back(6)
        assert waiting.result(30)
    assert shared.taken == 9


def test_who_waits_too_long_gets_nothing() -> None:
    shared = Budget(lambda: 10, seconds=0.01, most_waiting=1)
    assert shared.take(6)
    assert not shared.take(5)
    assert (shared.taken, shared.waiting) == (6, 0)


def test_a_request_larger_than_the_budget_is_admitted_alone() -> None:
    shared = Budget(lambda: 10, seconds=0.01, most_waiting=1)
    assert shared.take(11)
    assert not shared.take(1)
    shared.give_back(11)
    assert shared.take(1)
