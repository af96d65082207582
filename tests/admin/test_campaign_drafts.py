"""The pages of drafts: what was selected, its warnings, its options; and the results of campaigns."""

import re
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from executions.campaigns import campaigns
from executions.models import Campaign, Execution
from releases.activation.activation import activate
from releases.activation.revocation import revoke
from tests import making
from tests.admin import operator_rows
from tests.admin.conftest import LogIn, World
from tests.cases import cases
from tests.executions.campaigns.campaigning import pass_time

DRAFT = reverse("admin:executions_campaign_draft")
OPTIONS = {"why": "the bank is back", "rate_per_minute": "60"}
HOSTILE = "<script>alert('x')</script>"


def of(name: str, row: Any) -> str:
    return reverse(f"admin:executions_{name}", args=[row.pk])


def text(page: Any) -> str:
    """Return the words of a page in one line."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.text))


def revoked(world: World) -> None:
    """Activate 1.1 and revoke 1.0."""
    release = making.registered(world.tenant, "1.1", pipeline_id=operator_rows.pipeline_of(world))
    activate(release, actor="user:test")
    revoke(world.release, actor="user:test", reason="wrong sums")


def ids(*executions: Execution) -> list[str]:
    return [str(execution.pk) for execution in executions]


def test_ticked_executions_become_a_draft_that_is_started(log_in: LogIn, acme: World) -> None:
    first, second, _ = operator_rows.dead(acme, "k1", "k2", "k3")
    client = log_in("operator")
    page = client.post(DRAFT, {"kind": "redrive", "execution": ids(first, second)}, follow=True)
    draft = Campaign.objects.get()
    assert (draft.status, draft.created_by, draft.filters) == ("DRAFT", "user:operator", {})
    assert {item.execution_id for item in draft.items.all()} == {first.pk, second.pk}
    assert "2 executions. Nothing has been done to them yet." in text(page)
    assert page.context["by_status"] == [("DLQ", "danger", 2)]
    options = {**OPTIONS, "canary": "1", "stop_after_failures": "3"}
    started = client.post(of("campaign_begin", draft), options, follow=True)
    assert "The campaign has started. Executions: 2." in text(started)
    draft.refresh_from_db()
    assert (draft.status, draft.reason, draft.canary, draft.stop_after_failures) == ("RUNNING", OPTIONS["why"], 1, 3)
    again = client.post(of("campaign_begin", draft), options, follow=True)
    assert "It was started before." in text(again)


@cases(("kind", "done"), [("cancel", "CANCELLED"), ("pause", "PAUSED")])
def test_executions_are_stopped_and_those_that_do_not_fit_are_left_out(
    kind: str, done: str, log_in: LogIn, acme: World
) -> None:
    [dead] = operator_rows.dead(acme, "k1")
    queued = making.execution(acme.tenant, "k2", pipeline_id="acme.orders")
    client = log_in("operator")
    page = client.post(DRAFT, {"kind": kind, "execution": ids(dead, queued)}, follow=True)
    assert "1 of the 2 selected executions do not allow this." in text(page)
    assert {"canary", "target_release_version", "allow_revoked"}.isdisjoint(page.context["form"].fields)
    draft = Campaign.objects.get()
    client.post(of("campaign_begin", draft), OPTIONS)
    pass_time(60)
    assert campaigns.advance() == 1
    shown = client.get(of("campaign_change", draft))
    assert draft.items.get().outcome == done
    assert f"every execution was {done.lower()} or skipped" in text(shown)
    assert "Failed again" not in text(shown)


def test_a_draft_is_discarded(log_in: LogIn, acme: World) -> None:
    operator_rows.dead(acme, "k1")
    draft = operator_rows.draft(acme)
    page = log_in("operator").post(of("campaign_discard", draft), follow=True)
    assert "The draft was discarded. Nothing was done." in text(page)
    assert not Campaign.objects.exists()
    assert log_in("operator").post(of("campaign_discard", draft)).status_code == 404


def test_a_draft_warns_of_a_revoked_release_and_offers_the_active_one(log_in: LogIn, acme: World) -> None:
    operator_rows.dead(acme, "k1", "k2")
    revoked(acme)
    draft = operator_rows.draft(acme, reason="after the roll-back")
    client = log_in("operator")
    page = client.get(of("campaign_change", draft))
    assert "2 of them are pinned to the revoked release acme.orders 1.0. A re-drive runs that code again." in text(page)
    assert "“wrong sums”" in page.text
    assert "Resubmit on 1.1 instead" in text(page)
    refused = client.post(of("campaign_begin", draft), OPTIONS)
    assert refused.status_code == 409
    assert "the campaign" not in refused.context["problem"]["code"]
    other = client.post(of("campaign_instead", draft), follow=True)
    made = Campaign.objects.get(kind="resubmit")
    assert (made.status, made.reason, made.items.count()) == ("DRAFT", "after the roll-back", 2)
    assert "data-revoked" not in other.text
    confirmed = client.post(of("campaign_begin", draft), {**OPTIONS, "allow_revoked": "on"}, follow=True)
    assert "The campaign has started." in text(confirmed)


def test_a_draft_warns_of_other_releases_of_errors_that_are_not_retryable_and_of_changes(
    log_in: LogIn, acme: World
) -> None:
    [first, _] = operator_rows.dead(acme, "k1", "k2", retryable=False, code=HOSTILE)
    release = making.registered(acme.tenant, "1.1", pipeline_id="acme.orders")
    activate(release, actor="user:test")
    draft = operator_rows.draft(acme)
    client = log_in("operator")
    page = client.get(of("campaign_change", draft))
    assert "2 of them are pinned to releases that are no longer active." in text(page)
    assert "2 of them are FAILED" in text(page)
    assert HOSTILE not in page.text
    assert "data-changed" not in page.text
    client.post(of("execution_redrive", first), {"acknowledged": "on", "acknowledged_too": "on"})
    changed = client.get(of("campaign_change", draft))
    assert "1 of them has changed since. The campaign skips it and says so." in text(changed)


@cases(
    ("kind", "executions", "message"),
    [
        ("redrive", [], "Select executions"),
        ("redrive", ["x"], "Select executions"),
        ("destroy", None, "Select executions"),
        ("pause", None, "None of the selected executions is unfinished."),
    ],
)
def test_selections_that_fit_nothing_are_rejected(
    kind: str, executions: list[str] | None, message: str, log_in: LogIn, acme: World
) -> None:
    chosen = ids(*operator_rows.dead(acme, "k1")) if executions is None else executions
    page = log_in("operator").post(DRAFT, {"kind": kind, "execution": chosen}, follow=True)
    assert message in text(page)
    assert not Campaign.objects.exists()


@cases(
    ("who", "status"), [("viewer", 403), ("release-manager", 403), ("stranger", 404), ("nobody", 404), ("on-call", 302)]
)
def test_only_operators_make_drafts(who: str, status: int, log_in: LogIn, acme: World) -> None:
    chosen = ids(*operator_rows.dead(acme, "k1"))
    for kind in Campaign.Kind.values[:2]:
        assert log_in(who).post(DRAFT, {"kind": kind, "execution": chosen}).status_code == status
    assert Campaign.objects.count() == (2 if status == 302 else 0)


def test_executions_of_two_tenants_are_no_selection(log_in: LogIn, acme: World, globex: World) -> None:
    page = log_in("superuser").post(
        DRAFT, {"kind": "cancel", "execution": ids(acme.execution, globex.execution)}, follow=True
    )
    assert "Select executions of one tenant." in text(page)
    assert not Campaign.objects.exists()


def test_a_viewer_sees_a_draft_and_why_it_cannot_be_started(log_in: LogIn, acme: World) -> None:
    operator_rows.dead(acme, "k1")
    page = log_in("viewer").get(of("campaign_change", operator_rows.draft(acme)))
    assert "Your role may not do this. These roles may: operator" in text(page)
    assert "discard-form" not in page.text


def test_a_campaign_whose_executions_failed_again_is_red(log_in: LogIn, acme: World) -> None:
    operator_rows.dead(acme, "k1", "k2")
    made = operator_rows.campaign(acme)
    pass_time(60)
    campaigns.advance()
    operator_rows.record(acme, *[making.failure(claim) for claim in making.claimed(acme.tenant)])
    client = log_in("viewer")
    page = client.get(of("campaign_change", made))
    assert "2 of 2 failed again." in text(page)
    assert page.context["campaign"].status == "COMPLETED"
    assert len(client.get(of("campaign_change", made), {"outcome": "FAILED_AGAIN"}).context["items"]) == 2
    listed = client.get(reverse("admin:executions_campaign_changelist"))
    assert "COMPLETED, FAILED AGAIN" in listed.text


def test_a_campaign_says_why_it_has_paused_itself(log_in: LogIn, acme: World) -> None:
    operator_rows.dead(acme, "k1", "k2", "k3")
    made = operator_rows.campaign(acme, canary=1)
    pass_time(60)
    campaigns.advance()
    operator_rows.record(acme, *[making.failure(claim) for claim in making.claimed(acme.tenant)])
    campaigns.advance()
    client = log_in("operator")
    page = client.get(of("campaign_change", made))
    assert "1 of 1 failed again. The campaign has paused itself, because an execution of its canary failed" in text(
        page
    )
    assert "they no longer count" in client.get(of("campaign_resume", made)).text
    client.post(of("campaign_resume", made), {})
    assert "RUNNING" in client.get(of("campaign_change", made)).text


def test_a_draft_needs_few_queries_however_much_it_contains(log_in: LogIn, acme: World) -> None:
    client = log_in("operator")

    def count(draft: Campaign) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(of("campaign_change", draft)).status_code == 200
        return len(queries)

    operator_rows.dead(acme, "first")
    small = operator_rows.draft(acme)
    operator_rows.dead(acme, *[f"more-{number}" for number in range(9)])
    large = operator_rows.draft(acme)
    revoked(acme)
    assert count(small) == count(large) <= 25
