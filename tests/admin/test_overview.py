"""The overview: what needs attention, with links to exactly these rows, charts, and the health of pipelines."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from coordinator.overview import page
from executions.campaigns import campaigns
from executions.holds import holds
from executions.models import Execution, FinishedCount, Interaction, Worker
from executions.statistics import finished, live
from releases.activation.revocation import revoke
from releases.models import Blob, Pipeline, Release
from releases.registration.registrar import verify_release
from tenancy.models import Tenant
from tenancy.roles import Role
from tests import making, requesting
from tests.admin import operator_rows
from tests.admin.browsing import at, to
from tests.admin.conftest import LogIn, World, person
from tests.alerts.alerting import of_failures, rule
from tests.cases import cases
from tests.raw_sql import unguarded


def shown(client: Client) -> dict[str, tuple[int, str]]:
    """Return the counts and addresses of what needs attention, by key."""
    return {item.key: (item.count, item.address) for item in client.get(to("index")).context["attention"]}


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
    digests = list(world.release.artifacts.values_list("digest", flat=True))
    Blob.objects.filter(digest__in=digests).update(state=Blob.State.DAMAGED)


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
    campaigns.pause(world.tenant, operator_rows.campaign(world).pk, actor="user:test")


def firing(world: World) -> None:
    operator_rows.dead(world, "fails")
    of_failures(rule(world.tenant))


@cases(
    ("key", "make"),
    [
        *(("alerts", firing), ("stranded", stranded), ("approvals", approvals), ("rejected", rejected)),
        *(("artifacts", artifacts), ("questions", questions), ("drift", drift), ("paused", paused)),
        ("campaigns", paused_campaign),
    ],
)
def test_an_item_links_to_exactly_the_rows_that_it_counts(
    key: str, make: Callable[[World], None], log_in: LogIn, viewer: Client, acme: World, globex: World
) -> None:
    assert key not in shown(viewer)
    make(acme)
    count, address = shown(viewer)[key]
    assert count == len(at(viewer, address)) > 0
    assert key not in shown(log_in("stranger"))
    make(globex)
    everything = log_in("superuser")
    count, address = shown(everything)[key]
    assert count == len(at(everything, address)) > len(at(viewer, address)) == shown(viewer)[key][0]


def test_nothing_to_do_is_said_and_an_empty_tenant_leads_to_the_upload(log_in: LogIn, viewer: Client) -> None:
    answer = viewer.get(to("index"))
    assert answer.context["attention"] == answer.context["failing"] == []
    assert "Nothing needs attention." in answer.text
    assert "not a member of any tenant" in log_in("nobody").get(to("index")).text
    fresh = Tenant.objects.create(slug="fresh", name="fresh")
    upload = f'href="{to("releases_release_upload")}"'
    for username, role in (("first", Role.RELEASE_MANAGER), ("reader", Role.VIEWER)):
        client = Client()
        client.force_login(person(username, fresh, role))
        for address in (to("index"), to("releases_pipeline_changelist")):
            main = client.get(address).text.partition('id="main"')[2]
            assert (upload in main) == (username == "first")
            assert ("These roles may: release manager, tenant admin." in main) == (username == "reader")


def test_failing_releases_link_to_their_failures(log_in: LogIn, viewer: Client, acme: World, globex: World) -> None:
    operator_rows.dead(acme, "one", "two", "three", code="BANK_DOWN")
    operator_rows.dead(globex, "four")
    answer = viewer.get(to("index"))
    [failing] = answer.context["failing"]
    assert (failing.release, failing.count, failing.totals.failed) == (acme.release, 3, 3)
    assert failing.codes == [("BANK_DOWN", 3)]
    assert len(at(viewer, failing.address)) == 3
    letters = f"{to('executions_deadletter_changelist')}?since=day&smoke=no"
    assert answer.context["failed_count"] == len(at(viewer, letters))
    everything = log_in("superuser")
    for each in everything.get(to("index")).context["failing"]:
        assert len(at(everything, each.address)) == each.count
    revoke(acme.release, actor="user:test", reason="leaked")
    assert "REVOKED" in viewer.get(to("index")).text


def test_the_tiles_and_lines_count_what_their_lists_show(viewer: Client, acme: World) -> None:
    operator_rows.question(acme)
    operator_rows.dead(acme, "dead")
    found = viewer.get(to("index")).context
    executions, workers = (to(f"executions_{model}_changelist") for model in ("execution", "worker"))
    assert found["live_count"] == len(at(viewer, f"{executions}?status=live&smoke=no")) == 2
    assert found["waiting_count"] == len(at(viewer, to("executions_interaction_changelist"))) == 1
    assert found["worker_count"] == len(at(viewer, f"{workers}?state=accepts")) == 1
    [line] = found["lines"]
    assert (line.live["RUNNING"], line.failed, line.workers, found["stranded"]) == (1, 1, 1, [])
    stranded(acme)
    answer = viewer.get(to("index"))
    [waiting] = answer.context["stranded"]
    assert (waiting.release_version, waiting.count) == ("1.0", 2)
    assert "The worker sends no heartbeats" in answer.text


def test_live_executions_are_counted_up_to_a_number(
    viewer: Client, acme: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with unguarded(Execution):
        making.copies(acme.execution, 20)
    monkeypatch.setattr(live, "MOST_COUNTED", 21)
    assert "Numbers with a +" not in viewer.get(to("index")).text
    for module in (live, page):
        monkeypatch.setattr(module, "MOST_COUNTED", 20)
    text = viewer.get(to("index")).text
    assert [part in text for part in ("more than 20", "21+")] == [True, True]


def test_the_charts_show_what_finished_with_one_colour_for_a_release(
    viewer: Client, acme: World, newer: Release
) -> None:
    operator_rows.dead(acme, "one", "two")
    answer = viewer.get(to("index"))
    for panel in answer.context["panels"]:
        assert (panel.finished.total, panel.failed.total, len(panel.finished.lines)) == (2, 2, 1)
        assert panel.rows == [("1.0", 2, 2)]
    assert "at most 2 a minute" in answer.text
    minute = timezone.now().replace(second=0, microsecond=0)
    for release, hours, succeeded in ((acme.release, 5, 100), (newer, 0, 10)):
        at_time = minute - timedelta(hours=hours, minutes=5)
        FinishedCount.objects.create(release=release, minute=at_time, succeeded=succeeded, failed=1, cancelled=0)
    hour, day = viewer.get(to("index")).context["panels"]
    for chart in (hour.finished, hour.failed, day.finished, day.failed):
        assert [layer.name for layer in chart.layers] == ["1.0", "2.0"]
    assert ("2.0", 11, 1) in hour.rows


def test_counts_of_the_clock_replace_what_pages_count(viewer: Client, acme: World) -> None:
    [old] = operator_rows.dead(acme, "old")
    making.finished(timezone.now() - timedelta(minutes=30), old)

    def failed() -> list[int]:
        return [panel.failed.total for panel in viewer.get(to("index")).context["panels"]]

    assert failed() == [0, 0]
    finished.count()
    finished.count()
    assert failed() == [1, 1]
    operator_rows.dead(acme, "new")
    assert failed() == [2, 2]
