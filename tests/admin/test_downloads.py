"""Downloads of artifacts from the page of a release."""

from django.urls import reverse

from releases.models import Artifact, Release
from releases.registration.registrar import verify_release
from tests import making
from tests.admin.conftest import LogIn, World
from tests.cases import cases

CONTRACT = making.contract("acme.orders")


def page_of(release: Release) -> str:
    return reverse("admin:releases_release_change", args=[release.pk])


def address(release: Release, artifact: Artifact | None = None) -> str:
    return reverse("admin:releases_release_artifact", args=[release.pk, (artifact or release.artifacts.get()).pk])


def test_the_page_of_a_release_links_its_stored_bytes(log_in: LogIn, acme: World) -> None:
    client, release = log_in("viewer"), acme.release
    assert f'href="{address(release)}"' in client.get(page_of(release)).text
    response = client.get(address(release))
    data = making.stored_file(release.artifacts.get().digest).read_bytes()
    assert (response.status_code, response.getvalue()) == (200, data)
    assert response["Content-Disposition"] == 'attachment; filename="app.zip"'
    assert response["Content-Length"] == str(len(data))
    part = client.get(address(release), headers={"Range": "bytes=1-2"})
    assert (part.status_code, part.getvalue()) == (206, data[1:3])
    assert client.get(address(release), headers={"Range": "bytes=999999-"}).status_code == 416
    assert client.head(address(release))["Content-Length"] == str(len(data))
    assert client.post(address(release)).status_code == 405


def test_a_rejected_release_offers_no_bytes(log_in: LogIn, acme: World) -> None:
    wrong = making.archive(making.contract("org.example.wrong"))
    release = making.upload(acme.tenant, making.descriptor(CONTRACT, wrong, "2.0"), wrong).release
    client = log_in("tenant-admin")
    assert address(release) in client.get(page_of(release)).text
    verify_release(release.pk)
    assert address(release) not in client.get(page_of(release)).text
    assert client.get(address(release)).status_code == 404


def test_an_image_has_no_bytes(log_in: LogIn, acme: World) -> None:
    document = making.descriptor(CONTRACT, b"", "2.0", "container-image")
    release = making.upload(acme.tenant, document).release
    client = log_in("tenant-admin")
    assert address(release) not in client.get(page_of(release)).text
    assert client.get(address(release)).status_code == 404


def test_an_artifact_of_another_release_is_not_found(log_in: LogIn, acme: World, globex: World) -> None:
    other = making.registered(acme.tenant, "2.0", pipeline_id="acme.orders")
    client = log_in("tenant-admin")
    for artifact in (other.artifacts.get(), globex.release.artifacts.get()):
        assert client.get(address(acme.release, artifact)).status_code == 404


@cases("state", ["MISSING", "DAMAGED"])
def test_bytes_that_cannot_be_read_are_a_message_on_the_page(log_in: LogIn, acme: World, state: str) -> None:
    blob = acme.release.artifacts.get().blob
    assert blob is not None
    blob.state = state
    blob.save()
    client = log_in("viewer")
    response = client.get(address(acme.release), follow=True)
    assert response.redirect_chain == [(page_of(acme.release), 302)]
    assert "A stored artifact of the release" in response.text
    assert address(acme.release) not in response.text
