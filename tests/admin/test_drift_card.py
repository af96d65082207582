"""The drift on the page of a pipeline."""

from typing import Any

from django.test import Client
from django.urls import reverse

from tests import making
from tests.admin.conftest import LogIn, World

OTHER_DIGEST = "sha256:" + "0" * 64


def address(world: World) -> str:
    return reverse("admin:releases_pipeline_change", args=[world.release.pipeline_id])


def shown(client: Client, world: World) -> dict[str, Any]:
    sections = client.get(address(world)).context["sections"]
    [found] = [each.section for each in sections if each.template == "executions/drift.html"]
    return dict(found)


def test_a_pipeline_as_it_should_be_shows_none(log_in: LogIn, acme: World) -> None:
    page = log_in("viewer").get(address(acme)).text
    assert "No drift was found." in page
    assert "data-drifts" not in page


def test_each_drift_is_shown_with_its_evidence_and_what_to_do(log_in: LogIn, acme: World) -> None:
    making.worker(acme.release, "<odd>", artifact_digest=OTHER_DIGEST)
    page = log_in("viewer").get(address(acme)).text
    assert "worker &lt;odd&gt;" in page
    assert OTHER_DIGEST in page
    assert "Start the worker with the release" in page
    making.silence(acme.worker)
    lines = shown(log_in("viewer"), acme)["lines"]
    assert [(each.kind.value, each.name) for each, _ in lines] == [("artifact", "<odd>"), ("deployment", "1.0")]


def test_the_drift_of_another_tenant_is_not_shown(log_in: LogIn, acme: World, globex: World) -> None:
    making.worker(globex.release, "odd", artifact_digest=OTHER_DIGEST)
    assert "No drift was found." in log_in("viewer").get(address(acme)).text
    assert log_in("viewer").get(address(globex)).status_code == 404


def test_only_the_first_ones_are_shown(log_in: LogIn, acme: World) -> None:
    for number in range(51):
        making.worker(acme.release, f"odd-{number}", artifact_digest=OTHER_DIGEST)
    section = shown(log_in("viewer"), acme)
    assert (len(section["lines"]), section["more"]) == (50, 1)
