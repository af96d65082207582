"""The page of a release retires and revokes it, and links exactly the rows that still need it."""

import re
from html import unescape
from typing import Any

from django.test import Client

from releases.models import Release, Retirement, Revocation
from tests import making
from tests.admin.browsing import MARKUP, at, to
from tests.admin.conftest import World

PIPELINE = "acme.orders"


def page(client: Client, release: Release) -> str:
    return client.get(to("releases_release_change", release)).text


def act(client: Client, name: str, release: Release, **fields: str) -> str:
    response: Any = client.post(to(f"releases_release_{name}", release), fields, follow=True)
    return str(response.text)


def blockers(client: Client, release: Release) -> dict[str, tuple[str, int]]:
    """Return the address and the count of each blocker on the page, by its label."""
    found = re.findall(r'<dt>([^<]+)</dt><dd><a class="dc-link" href="([^"]+)">([\d,]+)</a>', page(client, release))
    return {label: (unescape(href), int(count)) for label, href, count in found}


def replaced(acme: World) -> None:
    making.worker(making.active(acme.tenant, "2.0", pipeline_id=PIPELINE), "worker-2")


def failed(acme: World) -> None:
    making.claimed(acme.tenant)
    making.dead_of(acme.execution)


# --- retirement ---


def test_each_blocker_links_exactly_its_rows(manager: Client, acme: World) -> None:
    making.claimed(acme.tenant)
    making.execution(acme.tenant, "queued", pipeline_id=PIPELINE)
    replaced(acme)
    making.execution(acme.tenant, "newer", pipeline_id=PIPELINE)
    found = blockers(manager, acme.release)
    assert {label: count for label, (_, count) in found.items()} == {"Queued executions": 1, "Running executions": 1}
    for label, key in (("Queued executions", "queued"), ("Running executions", acme.execution.execution_key)):
        assert [each.execution_key for each in at(manager, found[label][0])] == [key]


def test_a_release_that_nothing_needs_is_retired_with_a_reason(manager: Client, acme: World) -> None:
    release = making.registered(acme.tenant, "3.0", pipeline_id=PIPELINE)
    assert "A reason is required" in act(manager, "retire", release, reason="")
    assert not Retirement.objects.exists()
    assert "“replaced”" in act(manager, "retire", release, reason="replaced")
    assert Retirement.objects.get().actor == "user:release-manager"


def test_a_needed_release_is_not_retired_and_failures_are_given_up_with_a_tick(manager: Client, acme: World) -> None:
    shown = act(manager, "retire", acme.release, reason="x", ignore_failures="on")
    assert "ACTIVE 1, QUEUED 1" in shown
    failed(acme)
    replaced(acme)
    act(manager, "retire", acme.release, reason="x")
    assert not Retirement.objects.exists()
    act(manager, "retire", acme.release, reason="x", ignore_failures="on")
    assert Retirement.objects.get().given_up_failures == 1


# --- revocation ---


def test_a_revocation_is_shown_with_its_reason(manager: Client, acme: World) -> None:
    assert "A reason is required" in act(manager, "revoke", acme.release, reason=" ")
    shown = act(manager, "revoke", acme.release, reason=MARKUP)
    assert [MARKUP in shown, "data-revoke" in shown] == [False, False]
    assert Revocation.objects.get().reason == MARKUP
