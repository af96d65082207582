"""The page of a release says whether it is safe to retire, and links exactly the rows that still need it."""

import re
from html import unescape

import pytest
from django.test import Client
from django.urls import reverse

from executions.campaigns import campaigns
from executions.campaigns.filters import Filters
from executions.lifecycle.revoked import fail_open
from executions.models import Execution
from releases.models import Release, Retirement, Revocation
from tests import making
from tests.admin.conftest import LogIn, World

PIPELINE = "acme.orders"


@pytest.fixture
def client(log_in: LogIn) -> Client:
    return log_in("release-manager")


def page(client: Client, release: Release) -> str:
    return client.get(reverse("admin:releases_release_change", args=[release.pk])).content.decode()


def blockers(client: Client, release: Release) -> dict[str, tuple[str, int]]:
    """Return the address and the count of each blocker on the page, by its label."""
    found = re.findall(r'<dt>([^<]+)</dt><dd><a class="dc-link" href="([^"]+)">([\d,]+)</a>', page(client, release))
    return {label: (unescape(href), int(count)) for label, href, count in found}


def replaced(acme: World) -> None:
    making.worker(making.active(acme.tenant, "2.0", pipeline_id=PIPELINE), "worker-2")


def test_each_blocker_links_exactly_its_rows(client: Client, acme: World) -> None:
    making.claimed(acme.tenant)
    making.execution(acme.tenant, "queued", pipeline_id=PIPELINE)
    replaced(acme)
    making.execution(acme.tenant, "newer", pipeline_id=PIPELINE)
    found = blockers(client, acme.release)
    assert {label: count for label, (_, count) in found.items()} == {"Queued executions": 1, "Running executions": 1}
    for label, key in (("Queued executions", "queued"), ("Running executions", acme.execution.execution_key)):
        listed = client.get(found[label][0]).context["cl"].result_list
        assert [each.execution_key for each in listed] == [key]


def test_a_campaign_is_linked_while_it_has_items_of_the_release(client: Client, acme: World) -> None:
    making.claimed(acme.tenant)
    making.dead_of(acme.execution)
    campaign = campaigns.start(acme.tenant, Filters(pipeline_id=PIPELINE), reason="x", rate_per_minute=1, actor="")
    replaced(acme)
    address, count = blockers(client, acme.release)["Unfinished campaigns that would re-drive its executions"]
    assert count == 1
    assert [each.pk for each in client.get(address).context["cl"].result_list] == [campaign.pk]
    newer = Release.objects.get(release_version="2.0")
    assert not client.get(address.replace(str(acme.release.pk), str(newer.pk))).context["cl"].result_list
    assert not client.get(address.replace(f"={acme.release.pk}", "=x")).context["cl"].result_list


def test_a_release_that_nothing_needs_is_retired_with_a_reason(client: Client, acme: World) -> None:
    release = making.registered(acme.tenant, "3.0", pipeline_id=PIPELINE)
    assert "Yes: it is not active, and no executions" in page(client, release)
    address = reverse("admin:releases_release_retire", args=[release.pk])
    assert client.get(address).status_code == 405
    shown = client.post(address, {"reason": ""}, follow=True).content.decode()
    assert "A reason is required" in shown
    assert not Retirement.objects.exists()
    shown = client.post(address, {"reason": "replaced"}, follow=True).content.decode()
    assert "is retired" in shown
    assert "“replaced”" in shown
    assert "Safe to retire?" not in shown
    assert Retirement.objects.get().actor == "user:release-manager"


def test_a_needed_release_is_not_retired(client: Client, acme: World) -> None:
    address = reverse("admin:releases_release_retire", args=[acme.release.pk])
    shown = client.post(address, {"reason": "x", "ignore_failures": "on"}, follow=True).content.decode()
    assert "ACTIVE 1, QUEUED 1" in shown
    assert not Retirement.objects.exists()
    assert "data-retire>" not in shown


def test_failures_are_given_up_with_a_tick(client: Client, acme: World) -> None:
    making.claimed(acme.tenant)
    making.dead_of(acme.execution)
    replaced(acme)
    assert "Give up the failures above." in page(client, acme.release)
    address = reverse("admin:releases_release_retire", args=[acme.release.pk])
    client.post(address, {"reason": "x"})
    assert not Retirement.objects.exists()
    client.post(address, {"reason": "x", "ignore_failures": "on"})
    assert Retirement.objects.get().given_up_failures == 1


def test_a_revocation_can_pause_the_release_and_its_page_resumes_it(client: Client, acme: World) -> None:
    address = reverse("admin:releases_release_revoke", args=[acme.release.pk])
    shown = client.post(address, {"reason": "leaked", "open_executions": "pause"}, follow=True).content.decode()
    assert "Its open executions were paused." in shown
    assert 'data-paused="release"' in shown
    assert making.claimed(acme.tenant) == []
    resume = reverse("admin:executions_hold_release_resume", args=[acme.release.pk])
    assert resume in shown
    shown = client.post(resume, {"acknowledged": "on"}, follow=True).content.decode()
    assert "data-paused" not in shown
    assert len(making.claimed(acme.tenant)) == 1


def test_an_unknown_order_revokes_nothing(client: Client, acme: World) -> None:
    address = reverse("admin:releases_release_revoke", args=[acme.release.pk])
    assert client.post(address, {"reason": "leaked", "open_executions": "stop"}).status_code == 400
    assert not Revocation.objects.exists()


def test_a_revocation_can_fail_open_executions_and_shows_how_many(client: Client, acme: World) -> None:
    address = reverse("admin:releases_release_revoke", args=[acme.release.pk])
    shown = client.post(address, {"reason": "leaked", "open_executions": "fail"}, follow=True).content.decode()
    assert "are being failed: 0 so far" in shown
    fail_open()
    assert "were failed: 1." in page(client, acme.release)
    assert Revocation.objects.get().failed_executions == 1
    assert Execution.objects.get().status == "FAILED"


def test_a_redrive_of_a_revoked_release_needs_a_second_tick(log_in: LogIn, client: Client, acme: World) -> None:
    address = reverse("admin:releases_release_revoke", args=[acme.release.pk])
    client.post(address, {"reason": "leaked", "open_executions": "fail"})
    fail_open()
    operator = log_in("operator")
    address = reverse("admin:executions_execution_redrive", args=[acme.execution.pk])
    shown = operator.get(address).content.decode()
    assert "revoked release 1.0: “leaked”" in shown
    assert 'name="acknowledged_too"' in shown
    refused = operator.post(address, {"acknowledged": "on", "reason": "x"})
    assert refused.status_code == 409
    assert "RELEASE_REVOKED_CONFIRMATION" in refused.content.decode()
    assert operator.post(address, {"acknowledged": "on", "acknowledged_too": "on"}).status_code == 302
    assert Execution.objects.get().status == "QUEUED"


def test_a_campaign_over_revoked_releases_needs_a_tick(log_in: LogIn, client: Client, acme: World) -> None:
    making.claimed(acme.tenant)
    making.dead_of(acme.execution)
    client.post(reverse("admin:releases_release_revoke", args=[acme.release.pk]), {"reason": "leaked"})
    operator = log_in("operator")
    address, filters = reverse("admin:executions_campaign_start"), {"tenant": "acme", "pipeline_id": PIPELINE}
    shown = operator.post(address, filters, follow=True).content.decode()
    assert "pinned to the revoked release acme.orders 1.0" in shown
    assert "“leaked”" in shown
    assert 'name="allow_revoked"' in shown
    draft = campaigns.campaigns(acme.tenant).get()
    address, order = reverse("admin:executions_campaign_begin", args=[draft.pk]), {"why": "x", "rate_per_minute": "1"}
    assert operator.post(address, order).status_code == 409
    assert operator.post(address, {**order, "allow_revoked": "on"}).status_code == 302
    assert campaigns.campaigns(acme.tenant).get().allow_revoked
