"""The command palette finds what the user may see, and nothing else."""

import pytest
from django.test import Client

from coordinator.palette import executions
from tests import making
from tests.admin import operator_rows
from tests.admin.browsing import to
from tests.admin.conftest import LogIn, World
from tests.raw_sql import run


def found(client: Client, term: str) -> dict[str, str]:
    """Return the addresses of the results by their titles."""
    answer = client.get(to("search"), {"q": term, "part": "1"})
    assert answer.status_code == 200
    return {each.title: each.address for each in answer.context["found"]}


def test_it_finds_nothing_of_another_tenant(log_in: LogIn, acme: World) -> None:
    operator_rows.dead(acme, "secret-1")
    stranger = log_in("stranger")
    for term in ("key-of-acme", "secret", str(acme.execution.pk), "1.0", "orders", "activate acme.orders"):
        answer = stranger.get(to("search"), {"q": term, "part": "1"})
        assert not [each for each in answer.context["found"] if "acme" in f"{each.title}{each.kind}"], term
    assert found(log_in("nobody"), "acme") == {}


def test_a_search_that_took_too_long_says_so_and_finds_the_rest(
    log_in: LogIn, acme: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    making.copies(acme.execution, 20_000)
    run("SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off")
    monkeypatch.setattr(executions, "SECONDS", 0.001)
    viewer = log_in("viewer")
    for query in ({"q": "orders", "part": "1"}, {"q": "orders"}, {"q": "nothing"}):
        answer = viewer.get(to("search"), query)
        assert "Executions were not searched to the end" in answer.text
        assert "Nothing" not in answer.text
        assert bool(answer.context["found"]) == (query["q"] == "orders")
