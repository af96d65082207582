"""The page that compares two releases, and the links to it."""

import pytest
from django.urls import reverse

from releases.models import Pipeline, Release
from tests import making
from tests.admin.conftest import LogIn, World
from tests.cases import cases

STEPS = (making.STEP, {**making.STEP, "index": 1, "authoredName": "Screen"})
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def newer(acme: World) -> Release:
    return making.registered(acme.tenant, "2.0", pipeline_id="acme.orders", steps=STEPS)


def address(release: Release, query: str = "") -> str:
    return reverse("admin:releases_pipeline_compare", args=[release.pipeline_id]) + query


def test_the_active_release_is_compared_with_the_newest_one(log_in: LogIn, acme: World, newer: Release) -> None:
    page = log_in("viewer").get(address(newer))
    assert page.status_code == 200
    assert (page.context["before"], page.context["after"]) == (acme.release, newer)
    assert page.context["versions"] == ["2.0", "1.0"]
    assert '<option value="1.0" selected>1.0 (active)</option>' in page.text
    assert '<option value="2.0" selected>2.0</option>' in page.text
    assert "steps[&quot;Screen&quot;]" in page.text
    titles = [section.title for section in page.context["difference_sections"]]
    assert titles == ["Steps", "Artifacts"]


def test_two_releases_can_be_chosen(log_in: LogIn, acme: World, newer: Release) -> None:
    page = log_in("viewer").get(address(newer, "?from=2.0&to=1.0"))
    [removed] = [each for each in page.context["differences"] if each.kind == "removed"]
    assert (removed.path, removed.impact) == ('steps["Screen"]', "breaking-for-parked-work")
    assert 'data-impact="breaking-for-parked-work"' in page.text
    same = log_in("viewer").get(address(newer, "?from=2.0&to=2.0"))
    assert "There are no differences." in same.text


@cases("query", ["?to=9.9", "?from=a%00b", "?to=a/b"])
def test_an_unknown_version_is_not_found(log_in: LogIn, newer: Release, query: str) -> None:
    assert log_in("viewer").get(address(newer, query)).status_code == 404


def test_the_page_only_reads(log_in: LogIn, newer: Release) -> None:
    assert log_in("tenant-admin").post(address(newer)).status_code == 405


@cases("who", ["stranger", "nobody"])
def test_others_do_not_find_the_page(log_in: LogIn, newer: Release, who: str) -> None:
    assert log_in(who).get(address(newer)).status_code == 404


def test_a_pipeline_without_releases_has_an_empty_page(log_in: LogIn, acme: World) -> None:
    empty = Pipeline.objects.create(tenant=acme.tenant, pipeline_id="acme.empty")
    page = log_in("viewer").get(reverse("admin:releases_pipeline_compare", args=[empty.pk]))
    assert "The pipeline has no releases." in page.text


def test_texts_of_documents_are_escaped(log_in: LogIn, acme: World) -> None:
    hostile = ({**making.STEP, "authoredName": HOSTILE},)
    release = making.registered(acme.tenant, "3.0", pipeline_id="acme.orders", steps=hostile)
    page = log_in("viewer").get(address(release))
    assert HOSTILE not in page.text
    assert "&lt;script&gt;" in page.text


def test_the_pages_of_pipelines_and_releases_link_to_it(log_in: LogIn, acme: World, newer: Release) -> None:
    client = log_in("viewer")
    pipeline = client.get(reverse("admin:releases_pipeline_change", args=[newer.pipeline_id]))
    assert f'href="{address(newer)}"' in pipeline.text
    release = client.get(reverse("admin:releases_release_change", args=[newer.pk]))
    assert f'action="{address(newer)}"' in release.text
    assert 'name="to" value="2.0"' in release.text
    active = client.get(reverse("admin:releases_release_change", args=[acme.release.pk]))
    assert f'action="{address(newer)}"' in active.text
