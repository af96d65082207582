"""The pages of releases whose descriptor has the profile `tpf-2026-10`: descriptor, origin of bytes, deployments."""

from typing import Any

from django.test import Client

from releases.models import Release
from releases.registration.registrar import verify_release
from tests import making
from tests.admin.browsing import to
from tests.admin.conftest import World
from tests.maven_repository import maven_repository

CONTRACT = making.contract("acme.orders")
DATA = making.archive(CONTRACT, code="2.0")
URI = "maven:com.acme:orders:zip:2.0"


def page(release: Release) -> str:
    return to("releases_release_change", release)


def carrying(world: World, version: str = "2.0", *files: bytes, **more: Any) -> Release:
    """Upload and verify a release with a carrier. Return it with its verdict."""
    document = making.carrier_descriptor(CONTRACT, DATA, version, uri=URI, **more)
    release = making.upload(world.tenant, document, *files).release
    verify_release(release.pk)
    return Release.objects.select_related("pipeline").get(pk=release.pk)


def origins(viewer: Client, release: Release) -> list[str]:
    shown = viewer.get(page(release))
    names = [artifact.origin.name for artifact in shown.context["artifacts"]]
    for name in names:
        assert f'data-origin="{name}"' in shown.text
    return names


def test_the_page_shows_the_profile_and_the_carrier_and_offers_the_descriptor(viewer: Client, acme: World) -> None:
    release = carrying(acme, "2.0", DATA)
    for each, profile in ((release, "tpf-2026-10"), (acme.release, "tpf-2026-08")):
        text, descriptor = viewer.get(page(each)).text, to("releases_release_descriptor", each)
        assert [f"<dd data-profile>{profile}</dd>" in text, f'href="{descriptor}"' in text] == [True, True]
        response = viewer.get(descriptor)
        assert making.digest_of(response.content) == each.descriptor_digest
        assert response["Content-Disposition"] == 'attachment; filename="pipeline-release.json"'


# --- where the bytes come from ---


def test_bytes_from_a_repository_are_shown_so_for_each_release_that_pins_them(
    viewer: Client, acme: World, settings: Any
) -> None:
    with maven_repository() as repository:
        repository.publish(URI, DATA)
        repository.configure(settings)
        first, second = carrying(acme), carrying(acme, "3.0")
    assert (first.status, second.status) == ("REGISTERED", "REGISTERED")
    assert [each.artifacts.get().resolved for each in (first, second)] == [True, False]
    assert origins(viewer, first) == origins(viewer, second) == ["RESOLVED"]


def test_what_another_tenant_got_from_a_repository_does_not_count(
    viewer: Client, acme: World, globex: World, settings: Any
) -> None:
    with maven_repository() as repository:
        repository.publish(URI, DATA)
        repository.configure(settings)
        theirs = carrying(globex)
    assert (theirs.status, theirs.artifacts.get().resolved) == ("REGISTERED", True)
    assert origins(viewer, carrying(acme, "2.0", DATA)) == ["UPLOADED"]


# --- deployments ---
