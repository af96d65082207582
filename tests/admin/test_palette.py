"""The command palette finds what the user may see, and nothing else."""

from django.test import Client

from executions.models import Execution
from releases.models import Release
from tests import making
from tests.admin import operator_rows
from tests.admin.browsing import to
from tests.admin.conftest import LogIn, World
from tests.raw_sql import unguarded

FOUND = "Execution key-of-acme"


def found(client: Client, term: str) -> dict[str, str]:
    """Return the addresses of the results by their titles."""
    answer = client.get(to("search"), {"q": term, "part": "1"})
    assert answer.status_code == 200
    return {each.title: each.address for each in answer.context["found"]}


def test_it_finds_executions_by_the_beginning_of_their_key_or_id(viewer: Client, acme: World) -> None:
    page, text = to("executions_execution_change", acme.execution), str(acme.execution.pk)
    for term in ("key-of-acme", "ke", text, text[:4], text.upper(), text.replace("-", "")[:12]):
        assert found(viewer, term)[FOUND] == page, term
    other = text[:-1] + ("0" if text[-1] != "0" else "1")
    for term in ("y-of-acme", "k", "key_of", text[:3], other):
        assert FOUND not in found(viewer, term), term
    with unguarded(Execution):
        making.copies(acme.execution, 30)
    assert next(iter(found(viewer, "k1"))) == "Execution k1", "the exact key is first"


def test_it_finds_releases_and_only_acts_that_the_user_may_do(
    log_in: LogIn, viewer: Client, acme: World, newer: Release
) -> None:
    manager = log_in("release-manager")
    titles = found(manager, "ORDERS 2.0")
    assert titles.keys() == {"Release 2.0 of acme.orders", "Activate 2.0 of acme.orders"}
    assert titles["Activate 2.0 of acme.orders"] == to("releases_release_activate", newer)
    assert "acme.orders" in found(viewer, "cme.ord")
    acts = ("Activate", "Pause", "Upload", "Start", "Issue")
    for term in ("activate 2.0 of acme.orders", "pause acme.orders", "upload", "campaign", "token"):
        assert [title for title in found(viewer, term) if title.startswith(acts)] == [], term
    for who, term in (
        ("release-manager", "Upload a release"),
        ("operator", "Start a campaign"),
        ("superuser", "Users"),
    ):
        assert term in found(log_in(who), term)
    pages = found(viewer, "").keys()
    assert "Overview" in pages
    assert not pages & {"Users", "Members", "Upload a release"}


def test_it_finds_nothing_of_another_tenant(log_in: LogIn, acme: World) -> None:
    operator_rows.dead(acme, "secret-1")
    stranger = log_in("stranger")
    for term in ("key-of-acme", "secret", str(acme.execution.pk), "1.0", "orders", "activate acme.orders"):
        answer = stranger.get(to("search"), {"q": term, "part": "1"})
        assert not [each for each in answer.context["found"] if "acme" in f"{each.title}{each.kind}"], term
    assert found(log_in("nobody"), "acme") == {}
