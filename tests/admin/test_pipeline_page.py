"""The page of a pipeline: adoption and health of its releases, the timeline, questions, requests and drift."""

from typing import Any

from django.test import Client

from releases.activation.activation import activate
from releases.models import Pipeline, Release
from tests import making, requesting
from tests.admin import operator_rows
from tests.admin.browsing import to
from tests.admin.conftest import World


def page(client: Client, world: World) -> Any:
    return client.get(to("releases_pipeline_change", world.release.pipeline_id))


def section(client: Client, world: World, template: str = "") -> dict[str, Any]:
    """Return the section with the template; the first one by default."""
    found = [each.section for each in page(client, world).context["sections"] if each.template.endswith(template)]
    return dict(found[0])


def test_it_shows_the_share_the_failures_and_the_requests_of_each_release(
    viewer: Client, acme: World, globex: World, newer: Release
) -> None:
    operator_rows.dead(acme, "one", "two", "three")
    activate(newer, actor="user:test")
    making.worker(newer, "second")
    operator_rows.dead(globex, "four")
    Pipeline.objects.filter(pk=newer.pipeline_id).update(approvals=2)
    third = making.registered(acme.tenant, "3.0", pipeline_id="acme.orders")
    request = requesting.open_request(third)
    found = section(viewer, acme)
    assert [
        (line.release.release_version, line.is_active, line.totals.failed, line.adoption, line.workers)
        for line in found["lines"]
    ] == [("2.0", True, 0, 0.0, 1), ("1.0", False, 3, 100.0, 1)]
    assert found["scheduled"] == [request]
