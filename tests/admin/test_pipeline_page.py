"""The page of a pipeline: adoption and health of its releases, the timeline, questions, requests and drift."""

from typing import Any

from django.test import Client

from releases.activation.activation import activate
from releases.models import Pipeline, Release
from tests import making, requesting
from tests.admin import operator_rows
from tests.admin.browsing import to
from tests.admin.conftest import World

OTHER_DIGEST = "sha256:" + "0" * 64


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


def test_each_drift_of_the_tenant_is_shown_with_its_evidence(viewer: Client, acme: World, globex: World) -> None:
    making.worker(globex.release, "odd", artifact_digest=OTHER_DIGEST)
    assert "data-drifts" not in page(viewer, acme).text
    making.worker(acme.release, "<odd>", artifact_digest=OTHER_DIGEST)
    text = page(viewer, acme).text
    assert ["worker &lt;odd&gt;" in text, OTHER_DIGEST in text] == [True, True]
    making.silence(acme.worker)
    lines = section(viewer, acme, "drift.html")["lines"]
    assert [(each.kind.value, each.name) for each, _ in lines] == [("artifact", "<odd>"), ("deployment", "1.0")]
