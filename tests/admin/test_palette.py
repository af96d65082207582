"""The command palette finds what the user may see, and nothing else."""

from django.test import Client

from tests.admin import operator_rows
from tests.admin.browsing import to
from tests.admin.conftest import LogIn, World


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
