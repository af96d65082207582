"""The pages of releases and pipelines: verification, workers, contents, comparison, downloads."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from executions.inspection import release_counts
from executions.models import Execution
from releases.activation.activation import activate
from releases.models import Pipeline, Release
from releases.registration.progress import Progress
from releases.registration.registrar import verify_release
from tests import making
from tests.admin import operator_rows
from tests.admin.browsing import INERT, MARKUP, at, inert, to, words
from tests.admin.conftest import LogIn, World
from tests.cases import cases
from tests.raw_sql import unguarded
from wire.documents.descriptor import descriptor_from_json
from wire.findings import Finding, Severity

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
        (lambda: progress.refused(0, error), ("rejected", [error.code])),
        (lambda: progress.checking(descriptor, descriptor.artifacts[0]), ("checking", [])),
        (lambda: progress.checked(0, [replace(error, severity=Severity.WARNING)]), ("verified", [error.code])),
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
    assert 'data-status="REGISTERED"' in done.text
    assert "hx-get" not in done.text
    assert "<html" not in done.text


def test_a_verdict_says_what_is_wrong_with_which_artifact_and_offers_no_activation(
    log_in: LogIn, viewer: Client, acme: World
) -> None:
    data, other = making.archive(CONTRACT, code="2.0"), making.archive(making.contract("acme.other"))
    document = making.descriptor(CONTRACT, data, "2.0")
    [app] = document["artifacts"]
    document["artifacts"] += [{**app, "artifactId": "other", "digest": making.digest_of(other)}]
    rejected = making.rejected(acme.tenant, document, data, other)
    codes = [finding["code"] for finding in rejected.findings]
    assert codes
    assert states(viewer, rejected) == [("verified", []), ("rejected", codes)]
    text = log_in("release-manager").get(page_of(rejected)).text
    assert "REJECTED" in text
    assert "Upload again" in text
    assert to("releases_release_activate", rejected) not in text
    assert states(viewer, making.registered(acme.tenant, "3.0", pipeline_id="acme.orders")) == [("verified", [])]


def test_a_release_without_recorded_progress_claims_nothing(viewer: Client, acme: World) -> None:
    """Releases of earlier versions have none, and neither do artifacts after one that exceeded its limits."""
    with unguarded(Release):
        Release.objects.filter(pk=acme.release.pk).update(progress={}, status="REJECTED")
    assert states(viewer, acme.release) == [("", [])]


# --- workers, environment, buttons ---


def test_the_page_shows_the_environment_that_the_artifact_requires(viewer: Client, acme: World) -> None:
    python = {"implementation": "cpython", "version": "3.12.1", "platform": "linux-x86_64"}
    entries = {
        "META-INF/pipeline/python.json": json.dumps(python),
        "META-INF/pipeline/requirements.lock": "attrs==25.1.0\nmine @ https://user:secret@example.org/mine.whl\n",
    }
    data = making.archive(CONTRACT, **entries)
    release = making.verified(making.upload(acme.tenant, making.descriptor(CONTRACT, data, "2.0"), data).release)
    text = viewer.get(page_of(release)).text
    for shown in ("cpython 3.12.1", "linux-x86_64", "2 locked distributions", "attrs 25.1.0", "mine (from a URL)"):
        assert shown in text
    assert "secret" not in text
    assert "data-required-environment" not in viewer.get(page_of(acme.release)).text


def test_the_page_lists_the_workers_of_the_release_with_their_drift(viewer: Client, acme: World) -> None:
    making.worker(acme.release, "gone", stopped_at=timezone.now())
    newer = making.active(acme.tenant, "2.0", pipeline_id="acme.orders")
    assert "No worker hosts this release." in viewer.get(page_of(newer)).text
    making.worker(newer, "of-another-release")
    differences = [f"{MARKUP} {number} is not installed" for number in range(7)]
    environment = {"python": "", "platform": "", "differences": differences, "differenceCount": 60}
    making.worker(acme.release, "drifted", code="artifact", environment=environment)
    making.worker(acme.release, "folder", code="source")
    text = viewer.get(page_of(acme.release)).text
    for shown in ("drifted", "and 55 more", "4 is not installed", "unverified: a folder"):
        assert shown in text
    for hidden in (MARKUP, "5 is not installed", ">gone<", "of-another-release"):
        assert hidden not in text
    for number in range(60):
        making.worker(acme.release, f"more-{number}")
    assert "Only 50 workers are shown" in viewer.get(page_of(acme.release)).text


def test_the_buttons_are_displayed_to_users_who_may_use_them(log_in: LogIn, acme: World, newer: Release) -> None:
    activation, upload = to("releases_release_activate", newer), to("releases_release_upload")
    pages = (page_of(newer), to("releases_pipeline_change", newer.pipeline_id))
    for who, shown in (("viewer", False), ("operator", False), ("release-manager", True)):
        client = log_in(who)
        assert [activation in client.get(page).text for page in pages] == [shown] * 2
        assert (upload in client.get(to("releases_release_changelist")).text) == shown
        assert ("data-revoke" in client.get(page_of(acme.release)).text) == shown
    assert "are pinned to this release" in client.get(page_of(acme.release)).text
    assert "New executions still run <strong>1.0</strong>" in client.get(page_of(newer)).text


def test_the_history_of_a_pipeline_is_paged_newest_first(viewer: Client, acme: World) -> None:
    for number in range(30):
        activate(acme.release, actor="user:test", reason=f"reason-{number:02}")
    address = to("releases_pipeline_change", acme.release.pipeline_id)
    found = [[each.sequence for each in viewer.get(address, {"page": page}).context["history"]] for page in (1, 2)]
    assert found == [list(range(31, 6, -1)), list(range(6, 0, -1))]


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


def test_the_picture_shows_steps_awaits_and_types(viewer: Client, acme: World) -> None:
    steps = [
        {**making.STEP, "index": 0, "authoredName": "Check", "inputTypeId": "Order", "outputTypeId": "Checked"},
        {"index": 1, "authoredName": MARKUP, "kind": "await", "awaitTransport": "rest", "outputTypeId": "Decision"},
    ]
    release = making.registered(acme.tenant, "2.0", pipeline_id="acme.orders", steps=steps)
    page = viewer.get(page_of(release))
    picture = page.text.partition("data-diagram")[2].partition("</figure>")[0]
    boxes = re.findall(r"<text[^>]*>([^<]*)</text>", picture)
    assert boxes[:2] == ["0. Check", "internal, one to one"]
    assert boxes[3:] == ["await over rest", "Order", "Checked", "Decision"]
    assert picture.count("dc-diagram-box await") == 1
    assert MARKUP not in page.text


def test_the_types_show_their_fields(viewer: Client, acme: World) -> None:
    fields = [
        {"name": "lines", "type": {"kind": "named", "id": "Line"}, "repeated": True},
        {"name": MARKUP, "type": {"kind": "scalar", "id": "decimal"}, "optional": True},
    ]
    types: dict[str, Any] = {
        "Order": {"definition": {"id": "Order", "kind": "record", "fields": fields}},
        "Opaque": {},
    }
    release = making.registered(acme.tenant, "2.0", pipeline_id="acme.orders", canonicalTypes=types)
    text = viewer.get(page_of(release)).text.partition("data-types")[2]
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", text.partition("</table>")[0])
    assert (cells[:3], cells[4:]) == (["lines", "list of Line", "required"], ["decimal", "optional"])
    assert INERT in cells[3]
    assert "not defined by the contract" in text


def test_counts_link_to_exactly_their_rows(viewer: Client, acme: World, monkeypatch: pytest.MonkeyPatch) -> None:
    operator_rows.dead(acme, "a", "b", "c")
    page = viewer.get(page_of(acme.release))
    [section] = [each.section for each in page.context["sections"] if each.template.endswith("release_executions.html")]
    assert section["counts"]
    for each, _, href in section["counts"]:
        shown = at(viewer, href)
        assert {row.status for row in shown} == {each.status}
        assert len(shown) == each.count == Execution.objects.filter(release=acme.release, status=each.status).count()
    [(code, count, href)] = section["errors"]
    assert (count, len(at(viewer, href))) == (3, 3)
    assert code in page.text.partition("data-errors")[2]
    monkeypatch.setattr(release_counts, "MOST_READ", 2)
    text = viewer.get(page_of(acme.release)).text.partition("data-release-executions")[2]
    assert re.search(r"at least 2</a>", text)


# --- comparison ---

STEPS = (making.STEP, {**making.STEP, "index": 1, "authoredName": "Screen"})


def test_two_releases_are_compared(viewer: Client, acme: World) -> None:
    newer = making.registered(acme.tenant, "2.0", pipeline_id="acme.orders", steps=STEPS)
    making.rejected(acme.tenant, making.descriptor(CONTRACT, b"x", "3.0"), b"y")
    address = to("releases_pipeline_compare", newer.pipeline_id)
    page = viewer.get(address)
    assert (page.context["before"], page.context["after"]) == (acme.release, newer)
    assert page.context["versions"] == ["2.0", "1.0"]
    assert '<option value="1.0" selected>1.0 (active)</option>' in page.text
    assert "steps[&quot;Screen&quot;]" in page.text
    assert [section.title for section in page.context["difference_sections"]] == ["Steps", "Artifacts"]
    page = viewer.get(address, {"from": "2.0", "to": "1.0"})
    [removed] = [each for each in page.context["differences"] if each.kind == "removed"]
    assert (removed.path, removed.impact) == ('steps["Screen"]', "breaking-for-parked-work")
    assert 'data-impact="breaking-for-parked-work"' in page.text
    assert "There are no differences." in viewer.get(address, {"from": "2.0", "to": "2.0"}).text
    for query in ({"to": "9.9"}, {"from": "a\0b"}, {"to": "a/b"}):
        assert viewer.get(address, query).status_code == 404
    assert viewer.post(address).status_code == 405
    for shown in (page_of(newer), page_of(acme.release)):
        assert f'action="{address}"' in viewer.get(shown).text
    assert f'href="{address}"' in viewer.get(to("releases_pipeline_change", newer.pipeline_id)).text
    assert viewer.get(page_of(newer)).context["compared"] == ["1.0"]
    empty = Pipeline.objects.create(tenant=acme.tenant, pipeline_id="acme.empty")
    assert "The pipeline has no releases." in words(viewer.get(to("releases_pipeline_compare", empty)))


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
    part = viewer.get(address, headers={"Range": "bytes=1-2"})
    assert (part.status_code, part.getvalue()) == (206, data[1:3])
    assert viewer.get(address, headers={"Range": "bytes=999999-"}).status_code == 416
    assert viewer.head(address)["Content-Length"] == response["Content-Length"] == str(len(data))
    assert viewer.post(address).status_code == 405


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


@cases("state", ["MISSING", "DAMAGED"])
def test_bytes_that_cannot_be_read_are_a_message_on_the_page(viewer: Client, acme: World, state: str) -> None:
    blob = acme.release.artifacts.get().blob
    assert blob is not None
    blob.state = state
    blob.save()
    response = viewer.get(artifact_of(acme.release), follow=True)
    assert response.redirect_chain == [(page_of(acme.release), 302)]
    assert "A stored artifact of the release" in response.text
    assert artifact_of(acme.release) not in response.text
