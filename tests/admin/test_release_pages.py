"""The pages of releases and pipelines: verification, workers, contents, comparison, downloads."""

import re
from collections.abc import Callable

from django.test import Client

from releases.models import Blob, Pipeline, Release
from releases.registration.progress import Progress
from releases.registration.registrar import verify_release
from tests import making
from tests.admin.browsing import MARKUP, inert, to
from tests.admin.conftest import LogIn, World
from wire.documents.descriptor import descriptor_from_json
from wire.findings import Finding

CONTRACT = making.contract("acme.orders")


def page_of(release: Release) -> str:
    return to("releases_release_change", release)


def pending(world: World, version: str = "2.0") -> Release:
    data = making.archive(CONTRACT, code=version)
    return making.upload(world.tenant, making.descriptor(CONTRACT, data, version), data).release


# --- verification ---


def states(client: Client, release: Release) -> list[tuple[str, list[str]]]:
    """Return what the page says about each artifact: its state, and the codes of its findings."""
    page = client.get(page_of(release))
    rows = [row.verification for row in page.context["artifacts"]]
    shown = [(row.state, [each["code"] for each in row.findings]) for row in rows]
    assert all(code in page.text for _, codes in shown for code in codes)
    if "data-verification" in page.text:
        assert re.findall(r'<tr data-state="([a-z]*)"', page.text) == [state for state, _ in shown]
    return shown


def test_the_page_follows_the_verification_of_each_artifact_until_the_verdict(viewer: Client, acme: World) -> None:
    release = pending(acme)
    status = to("releases_release_status", release)
    assert f'hx-get="{status}?shown=UPLOADED"' in viewer.get(page_of(release)).text
    assert viewer.get(status, {"shown": "UPLOADED"}).status_code == 204
    assert states(viewer, release) == [("waiting", [])]
    Release.objects.filter(pk=release.pk).update(status="VERIFYING")
    progress, error = Progress(release.pk), Finding("MAVEN_ARTIFACT_MISSING", "artifacts[0].uri", "is nowhere")
    descriptor = descriptor_from_json(release.descriptor)
    steps: list[tuple[Callable[[], None], tuple[str, list[str]]]] = [
        (lambda: None, ("waiting", [])),
        (lambda: progress.fetching(0), ("fetching", [])),
        (lambda: progress.checking(descriptor, descriptor.artifacts[0]), ("checking", [])),
        (lambda: progress.checked(0, [error]), ("rejected", [error.code])),
    ]
    shown = "UPLOADED"
    for step, expected in steps:
        step()
        moved = viewer.get(status, {"shown": shown})
        assert (moved.status_code, states(viewer, release)) == (200, [expected])
        assert "hx-get" in moved.text
        shown = moved.context["shown"]
        assert viewer.get(status, {"shown": shown}).status_code == 204
    verify_release(release.pk)
    done = viewer.get(status, {"shown": shown})
    assert ['data-status="REGISTERED"' in done.text, "hx-get" in done.text] == [True, False]


# --- workers, environment, buttons ---


def test_untrusted_text_is_never_markup(log_in: LogIn, acme: World) -> None:
    release = making.active(acme.tenant, MARKUP, pipeline_id=MARKUP, steps=[{**making.STEP, "authoredName": MARKUP}])
    worker = making.worker(release, MARKUP)
    execution = making.execution(acme.tenant, MARKUP, {"n": MARKUP}, pipeline_id=MARKUP)
    Pipeline.objects.filter(pk=release.pipeline_id).update(application=MARKUP)
    making.deployed(release, MARKUP, f"key {MARKUP}", actor=MARKUP)
    client = log_in("superuser")
    models = ("releases_release", "releases_pipeline", "executions_execution", "executions_worker")
    for address in (
        *(to("index"), *(to(f"{model}_changelist") for model in models), page_of(release)),
        *(to("releases_release_activate", release), to("releases_pipeline_change", release.pipeline_id)),
        *(to("releases_pipeline_compare", release.pipeline_id), to("executions_execution_change", execution)),
        to("executions_worker_change", worker),
    ):
        inert(client.get(address))


# --- contents ---


# --- comparison ---

STEPS = (making.STEP, {**making.STEP, "index": 1, "authoredName": "Screen"})


def test_two_releases_are_compared(viewer: Client, acme: World) -> None:
    newer = making.registered(acme.tenant, "2.0", pipeline_id="acme.orders", steps=STEPS)
    address = to("releases_pipeline_compare", newer.pipeline_id)
    page = viewer.get(address)
    assert (page.context["before"], page.context["after"]) == (acme.release, newer)
    assert "steps[&quot;Screen&quot;]" in page.text
    page = viewer.get(address, {"from": "2.0", "to": "1.0"})
    [removed] = [each for each in page.context["differences"] if each.kind == "removed"]
    assert (removed.path, removed.impact) == ('steps["Screen"]', "breaking-for-parked-work")
    assert viewer.get(address, {"to": "9.9"}).status_code == 404
    empty = Pipeline.objects.create(tenant=acme.tenant, pipeline_id="acme.empty")
    assert viewer.get(to("releases_pipeline_compare", empty)).status_code == 200


# --- downloads ---


def artifact_of(release: Release, of: Release | None = None) -> str:
    return to("releases_release_artifact", release, (of or release).artifacts.get())


def test_the_page_of_a_release_links_its_stored_bytes(viewer: Client, acme: World) -> None:
    address = artifact_of(acme.release)
    assert f'href="{address}"' in viewer.get(page_of(acme.release)).text
    response = viewer.get(address)
    data = making.stored_file(acme.release.artifacts.get().digest).read_bytes()
    assert (response.status_code, response.getvalue()) == (200, data)
    assert response["Content-Disposition"] == 'attachment; filename="app.zip"'


def test_artifacts_that_cannot_be_downloaded(viewer: Client, acme: World, globex: World, newer: Release) -> None:
    wrong = making.archive(making.contract("org.example.wrong"))
    rejected = making.upload(acme.tenant, making.descriptor(CONTRACT, wrong, "3.0"), wrong).release
    assert artifact_of(rejected) in viewer.get(page_of(rejected)).text
    verify_release(rejected.pk)
    image = making.upload(acme.tenant, making.descriptor(CONTRACT, b"", "4.0", "container-image")).release
    for release in (rejected, image):
        assert artifact_of(release) not in viewer.get(page_of(release)).text
        assert viewer.get(artifact_of(release)).status_code == 404
    for other in (newer, globex.release):
        assert viewer.get(artifact_of(acme.release, other)).status_code == 404


def test_bytes_that_cannot_be_read_are_a_message_on_the_page(viewer: Client, acme: World) -> None:
    Blob.objects.filter(digest=acme.release.artifacts.get().digest).update(state=Blob.State.DAMAGED)
    response = viewer.get(artifact_of(acme.release), follow=True)
    assert response.redirect_chain == [(page_of(acme.release), 302)]
    assert artifact_of(acme.release) not in response.text
