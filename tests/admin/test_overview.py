"""The overview: what needs attention, with links to exactly these rows, charts, and the health of pipelines."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from coordinator.overview import page
from executions.campaigns import campaigns
from executions.holds import holds
from executions.models import Execution, FinishedCount, Interaction, Worker
from executions.statistics import finished, live
from releases.activation.revocation import revoke
from releases.models import ActivationRequest, Blob, Pipeline
from releases.registration.registrar import verify_release
from tenancy.models import Tenant
from tenancy.roles import Role
from tests import making, requesting
from tests.admin import operator_rows
from tests.admin.conftest import LogIn, World, person
from tests.alerts.alerting import of_failures, rule
from tests.cases import cases
from tests.raw_sql import run, unguarded

INDEX = "admin:index"


def shown(client: Client) -> dict[str, tuple[int, str]]:
    """Return the counts and addresses of what needs attention, by key."""
    items = client.get(reverse(INDEX)).context["attention"]
    return {item.key: (item.count, item.address) for item in items}


def listed(client: Client, address: str) -> int:
    answer = client.get(address)
    assert answer.status_code == 200, address
    return len(answer.context["cl"].result_list)


def stranded(world: World) -> None:
    making.execution(world.tenant, "waits", pipeline_id=operator_rows.pipeline_of(world))
    making.execution(world.tenant, "waits too", pipeline_id=operator_rows.pipeline_of(world))
    making.silence(world.worker)


def approvals(world: World) -> None:
    release = making.registered(world.tenant, pipeline_id=f"{world.tenant.slug}.asked")
    Pipeline.objects.filter(pk=release.pipeline_id).update(approvals=2)
    requesting.open_request(release)


def rejected(world: World) -> None:
    document = making.contract(f"{world.tenant.slug}.rejected")
    data = making.archive(document)
    for version in ("1.0", "2.0"):
        verify_release(making.upload(world.tenant, making.descriptor(document, data, version), b"stray").release.pk)
    making.verified(making.upload(world.tenant, making.descriptor(document, data, "2.0"), data).release)


def artifacts(world: World) -> None:
    digests = world.release.artifacts.values_list("digest", flat=True)
    Blob.objects.filter(digest__in=list(digests)).update(state=Blob.State.DAMAGED)


def questions(world: World) -> None:
    question = operator_rows.question(world)
    Interaction.objects.filter(pk=question.pk).update(deadline=timezone.now() + timedelta(minutes=30))


def drift(world: World) -> None:
    environment = {"python": "cpython 3.12.1", "platform": "linux", "differences": ["x"], "differenceCount": 1}
    Worker.objects.filter(pk=world.worker.pk).update(code="artifact", environment=environment)


def paused(world: World) -> None:
    holds.pause(world.release, actor="user:test", reason="because")


def paused_campaign(world: World) -> None:
    operator_rows.dead(world, "dead")
    started = operator_rows.campaign(world)
    campaigns.pause(world.tenant, started.pk, actor="user:test")


def firing(world: World) -> None:
    operator_rows.dead(world, "fails")
    of_failures(rule(world.tenant))


CASES: dict[str, Callable[[World], None]] = {
    "alerts": firing,
    "stranded": stranded,
    "approvals": approvals,
    "rejected": rejected,
    "artifacts": artifacts,
    "questions": questions,
    "drift": drift,
    "paused": paused,
    "campaigns": paused_campaign,
}


@cases("key", CASES)
def test_an_item_links_to_exactly_the_rows_that_it_counts(key: str, log_in: LogIn, acme: World, globex: World) -> None:
    viewer, stranger = log_in("viewer"), log_in("stranger")
    assert key not in shown(viewer)
    CASES[key](acme)
    count, address = shown(viewer)[key]
    assert count == listed(viewer, address) > 0
    assert key not in shown(stranger)
    CASES[key](globex)
    everything = log_in("superuser")
    count, address = shown(everything)[key]
    assert count == listed(everything, address)
    assert listed(viewer, address) == shown(viewer)[key][0]


def test_nothing_to_do_is_said(log_in: LogIn, acme: World) -> None:
    answer = log_in("viewer").get(reverse(INDEX))
    assert answer.context["attention"] == answer.context["failing"] == []
    assert "Nothing needs attention." in answer.text


def test_an_empty_tenant_leads_to_the_upload(log_in: LogIn, acme: World) -> None:
    fresh = Tenant.objects.create(slug="fresh", name="fresh")
    for username, role in (("first", Role.RELEASE_MANAGER), ("reader", Role.VIEWER)):
        person(username, fresh, role)
    upload = reverse("admin:releases_release_upload")
    for address in (INDEX, "admin:releases_pipeline_changelist"):
        assert f'href="{upload}"' in content(log_in("first").get(reverse(address)).text)
        denied = content(log_in("reader").get(reverse(address)).text)
        assert f'href="{upload}"' not in denied
        assert "These roles may: release manager, tenant admin." in denied


def content(page: str) -> str:
    """Return what follows the sidebar."""
    return page.partition('id="main"')[2]


def test_failing_releases_link_to_their_failures(log_in: LogIn, acme: World, globex: World) -> None:
    operator_rows.dead(acme, "one", "two", "three", code="BANK_DOWN")
    operator_rows.dead(globex, "four")
    client = log_in("viewer")
    answer = client.get(reverse(INDEX))
    [failing] = answer.context["failing"]
    assert (failing.release, failing.count, failing.totals.failed) == (acme.release, 3, 3)
    assert failing.codes == [("BANK_DOWN", 3)]
    assert listed(client, failing.address) == 3
    assert answer.context["failed_count"] == listed(
        client, reverse("admin:executions_deadletter_changelist") + "?since=day&smoke=no"
    )
    everything = log_in("superuser")
    for each in everything.get(reverse(INDEX)).context["failing"]:
        assert listed(everything, each.address) == each.count


def test_the_tiles_count_what_their_lists_show(log_in: LogIn, acme: World) -> None:
    operator_rows.question(acme)
    operator_rows.dead(acme, "dead")
    client = log_in("viewer")
    found = client.get(reverse(INDEX)).context
    executions, workers = (reverse(f"admin:executions_{model}_changelist") for model in ("execution", "worker"))
    assert found["live_count"] == listed(client, f"{executions}?status=live&smoke=no") == 2
    assert found["waiting_count"] == listed(client, reverse("admin:executions_interaction_changelist")) == 1
    assert found["worker_count"] == listed(client, f"{workers}?state=accepts") == 1


def test_live_executions_are_counted_up_to_a_number(
    log_in: LogIn, acme: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with unguarded(Execution):
        making.copies(acme.execution, 20)
    monkeypatch.setattr(live, "MOST_COUNTED", 21)
    text = log_in("viewer").get(reverse(INDEX)).text
    assert "Numbers with a +" not in text
    monkeypatch.setattr(live, "MOST_COUNTED", 20)
    monkeypatch.setattr(page, "MOST_COUNTED", 20)
    text = log_in("viewer").get(reverse(INDEX)).text
    assert "more than 20" in text
    assert "21+" in text
    assert "Of each release, 20 live executions are counted." in text


def test_the_charts_show_what_finished_and_the_activations(log_in: LogIn, acme: World) -> None:
    operator_rows.dead(acme, "one", "two")
    answer = log_in("viewer").get(reverse(INDEX))
    for panel in answer.context["panels"]:
        assert (panel.finished.total, panel.failed.total, len(panel.finished.lines)) == (2, 2, 1)
        assert panel.rows == [(acme.release.release_version, 2, 2)]
    assert "at most 2 a minute" in answer.text
    assert 'role="img"' in answer.text


def test_a_release_has_the_same_colour_in_all_charts(log_in: LogIn, acme: World) -> None:
    minute = timezone.now().replace(second=0, microsecond=0)
    second = making.registered(acme.tenant, "2.0", pipeline_id="acme.orders")
    for release, hours, succeeded in ((acme.release, 5, 100), (second, 0, 10)):
        at = minute - timedelta(hours=hours, minutes=5)
        FinishedCount.objects.create(release=release, minute=at, succeeded=succeeded, failed=1, cancelled=0)
    hour, day = log_in("viewer").get(reverse(INDEX)).context["panels"]
    for chart in (hour.finished, hour.failed, day.finished, day.failed):
        assert [layer.name for layer in chart.layers] == ["1.0", "2.0"]
    assert hour.rows == [("2.0", 11, 1)]
    assert day.rows == [("1.0", 101, 1), ("2.0", 11, 1)]


def test_counts_of_the_clock_replace_what_pages_count(log_in: LogIn, acme: World) -> None:
    [old] = operator_rows.dead(acme, "old")
    making.finished(timezone.now() - timedelta(minutes=30), old)
    viewer = log_in("viewer")

    def failed() -> list[int]:
        return [panel.failed.total for panel in viewer.get(reverse(INDEX)).context["panels"]]

    assert failed() == [0, 0]
    finished.count()
    finished.count()
    assert failed() == [1, 1]
    operator_rows.dead(acme, "new")
    assert failed() == [2, 2]


def test_a_revoked_active_release_is_marked(log_in: LogIn, acme: World) -> None:
    revoke(acme.release, actor="user:test", reason="leaked")
    assert "REVOKED" in log_in("viewer").get(reverse(INDEX)).text


def test_the_number_of_queries_is_bounded_and_independent_of_the_pipelines(log_in: LogIn, acme: World) -> None:
    for make in (stranded, approvals, rejected, artifacts, drift):
        make(acme)
    client = log_in("viewer")
    client.get(reverse(INDEX))

    def query_count() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(reverse(INDEX)).status_code == 200
        return len(queries)

    before = query_count()
    assert before <= 25
    run(
        "INSERT INTO releases_pipeline (tenant_id, pipeline_id, application, reason_required, signature_policy,"
        " worker_gate, validate_answers, unverified_workers, missing_artifacts, rollback_days, skew_grace_minutes)"
        " SELECT %s, 'many.' || n, '', false, 'off', 'off', true, 'refuse', 'reject', 30, 0"
        " FROM generate_series(1, 200) n",
        acme.tenant.pk,
    )
    assert query_count() == before
    assert ActivationRequest.objects.count() == 1
