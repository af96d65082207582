"""The pages that pause and resume, the banners of paused objects, and the list of what is paused."""

from typing import Any

from django.urls import reverse

from executions.holds import holds
from executions.models import Hold
from tests.admin.conftest import LogIn, World
from tests.admin.test_who_may_open_what import OPERATORS, RELEASERS
from tests.cases import cases

KINDS = ("execution", "release", "pipeline")
PEOPLE = ("viewer", "operator", "release-manager", "tenant-admin", "stranger")
HOSTILE = "</dd><script>alert('x')</script>"


def target(kind: str, world: World) -> Any:
    return {"execution": world.execution, "release": world.release, "pipeline": world.release.pipeline}[kind]


def act(kind: str, name: str, world: World) -> str:
    return reverse(f"admin:executions_hold_{kind}_{name}", args=[target(kind, world).pk])


def page(kind: str, world: World) -> str:
    app = "executions" if kind == "execution" else "releases"
    return reverse(f"admin:{app}_{kind}_change", args=[target(kind, world).pk])


@cases("kind", KINDS)
def test_a_pause_is_made_shown_and_ended_on_the_pages(kind: str, log_in: LogIn, acme: World) -> None:
    client = log_in("tenant-admin")
    assert act(kind, "pause", acme) in client.get(page(kind, acme)).text
    assert "Nothing else starts until it is resumed" in client.get(act(kind, "pause", acme)).text
    made = client.post(act(kind, "pause", acme), {"reason": HOSTILE}, follow=True)
    assert made.redirect_chain == [(page(kind, acme), 302)]
    shown = made.text
    assert f'data-paused="{kind}"' in shown
    assert act(kind, "resume", acme) in shown
    assert act(kind, "pause", acme) not in shown
    assert "&lt;script&gt;" in shown
    assert "<script>alert(" not in shown
    hold = Hold.objects.get()
    assert (hold.started_by, hold.reason) == ("user:tenant-admin-of-acme", HOSTILE)
    assert not hold.refuses_submissions
    client.post(act(kind, "resume", acme), {"reason": "repaired"})
    hold.refresh_from_db()
    assert (hold.ended_by, hold.end_reason) == ("user:tenant-admin-of-acme", "repaired")
    assert "data-paused" not in client.get(page(kind, acme)).text


@cases("kind", KINDS)
def test_a_pause_needs_a_reason(kind: str, log_in: LogIn, acme: World) -> None:
    for reason in ("", " "):
        assert log_in("tenant-admin").post(act(kind, "pause", acme), {"reason": reason}).status_code == 400
    assert not Hold.objects.exists()


@cases("kind", KINDS)
def test_only_a_pause_of_a_release_or_a_pipeline_refuses_submissions(kind: str, log_in: LogIn, acme: World) -> None:
    client = log_in("tenant-admin")
    client.post(f"{act(kind, 'pause', acme)}?submissions=refuse", {"reason": "broken"})
    assert Hold.objects.get().refuses_submissions is (kind != "execution")
    assert ("New executions are refused." in client.get(page(kind, acme)).text) is (kind != "execution")


@cases("kind", KINDS)
def test_a_resume_is_made_only_by_users_whose_role_permits_it(kind: str, log_in: LogIn, acme: World) -> None:
    hold = holds.pause(target(kind, acme), actor="user:test", reason="broken").hold
    allowed = OPERATORS if kind == "execution" else RELEASERS
    for who in PEOPLE:
        client = log_in(who)
        if who != "stranger":
            assert (act(kind, "resume", acme) in client.get(page(kind, acme)).text) is (who in allowed)
        if who not in allowed:
            assert client.post(act(kind, "resume", acme), {"reason": ""}).status_code in {403, 404}
    hold.refresh_from_db()
    assert hold.ended_at is None


@cases("kind", KINDS)
def test_what_is_not_paused_cannot_be_resumed(kind: str, log_in: LogIn, acme: World) -> None:
    client = log_in("tenant-admin")
    assert client.get(act(kind, "resume", acme)).status_code == 409
    answer = client.post(act(kind, "resume", acme), {"reason": ""})
    assert answer.status_code == 409
    assert "NOT_PAUSED" in answer.text


def test_an_execution_shows_the_pauses_that_cover_it(log_in: LogIn, acme: World) -> None:
    for kind in KINDS:
        holds.pause(target(kind, acme), actor="user:test", reason="broken")
    shown = log_in("operator").get(page("execution", acme)).text
    assert [f'data-paused="{kind}"' in shown for kind in KINDS] == [True] * 3
    assert [act(kind, "resume", acme) in shown for kind in KINDS] == [True, False, False]
    assert 'data-paused="pipeline"' in log_in("operator").get(page("release", acme)).text


def test_the_list_has_what_is_paused_now_and_links_to_its_page(log_in: LogIn, acme: World, globex: World) -> None:
    holds.pause(acme.release, actor="user:test", reason="an old one")
    holds.resume(acme.release, actor="user:test")
    hold = holds.pause(acme.execution, actor="user:test", reason="a new one").hold
    holds.pause(globex.release, actor="user:test", reason="a secret")
    client = log_in("viewer")
    shown = client.get(reverse("admin:executions_hold_changelist"))
    assert "a new one" in shown.text
    assert "an old one" not in shown.text
    assert "a secret" not in shown.text
    opened = client.get(reverse("admin:executions_hold_change", args=[hold.pk]))
    assert (opened.status_code, opened["Location"]) == (302, page("execution", acme))
