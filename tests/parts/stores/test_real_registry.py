"""The check of image registries against a real registry: docker-registry, the server of the CNCF."""

from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from releases.models import Release
from releases.registration.registrar import verify_release
from tests import making
from tests.docker_registry import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    PASSWORD,
    USER,
    DockerRegistry,
    docker_registry,
)

pytestmark = pytest.mark.django_db

CONTRACT = making.contract()
URI = "pipeline-release.json#artifacts[0].uri"
MISSING = ("REJECTED", [("IMAGE_MANIFEST_MISSING", URI)])
DENIED = ("REJECTED", [("IMAGE_REGISTRY_DENIED", URI)])
REGISTERED: tuple[str, list[tuple[str, str]]] = ("REGISTERED", [])
VERIFYING: tuple[str, list[tuple[str, str]]] = ("VERIFYING", [])


@pytest.fixture
def registry(settings: Any, tmp_path: Path) -> Iterator[DockerRegistry]:
    with docker_registry(tmp_path) as made:
        permit(settings, made)
        yield made


@pytest.fixture
def locked(settings: Any, tmp_path: Path) -> Iterator[DockerRegistry]:
    """A registry that requires a password."""
    with docker_registry(tmp_path, requires_password=True) as made:
        permit(settings, made)
        yield made


def permit(settings: Any, registry: DockerRegistry) -> None:
    settings.IMAGE_REGISTRY_CHECK = True
    settings.IMAGE_REGISTRY_ALLOWED_NETWORKS = [ip_network("127.0.0.0/8")]
    settings.IMAGE_REGISTRIES_PLAIN_HTTP = [registry.host]
    settings.IMAGE_REGISTRY_SECONDS = 5


def uploaded(registry: DockerRegistry, digest: str, repository: str = "acme/app") -> Release:
    document = making.descriptor(CONTRACT, b"", kind="container-image")
    document["artifacts"][0] |= {"uri": registry.reference(repository, digest), "digest": digest}
    return making.upload(making.tenant(), document).release


def verdict(release: Release) -> tuple[str, list[tuple[str, str]]]:
    verify_release(release.pk)
    release.refresh_from_db()
    return release.status, [(finding["code"], finding["field"]) for finding in release.findings]


def test_an_image_of_each_media_type_is_registered(registry: DockerRegistry) -> None:
    for media_type in (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST):
        digest = registry.push_image("acme/app", media_type)
        assert verdict(uploaded(registry, digest)) == REGISTERED, media_type


def test_a_missing_manifest_and_one_of_another_repository_are_findings(registry: DockerRegistry) -> None:
    registry.push_image("acme/app")
    for repository in ("acme/app", "acme/new"):
        assert verdict(uploaded(registry, making.digest_of(b"missing"), repository)) == MISSING
    digest = registry.push_image("acme/other")
    assert verdict(uploaded(registry, digest)) == MISSING
    assert verdict(uploaded(registry, digest, "acme/other")) == REGISTERED


def test_images_are_found_with_the_right_credentials_only(locked: DockerRegistry, settings: Any) -> None:
    digest = locked.push_image("acme/app", OCI_INDEX)
    for credentials in ("", f"{USER}:wrong", f"other:{PASSWORD}"):
        settings.IMAGE_REGISTRY_CREDENTIALS = {locked.host: credentials} if credentials else {}
        assert verdict(uploaded(locked, digest)) == DENIED
    settings.IMAGE_REGISTRY_CREDENTIALS = {locked.host: f"{USER}:{PASSWORD}"}
    assert verdict(uploaded(locked, digest)) == REGISTERED
    assert verdict(uploaded(locked, making.digest_of(b"missing"))) == MISSING


def test_the_check_is_repeated_after_a_stopped_registry_returns(registry: DockerRegistry) -> None:
    release = uploaded(registry, registry.push_image("acme/app"))
    registry.stop()
    assert verdict(release) == VERIFYING
    assert verdict(release) == VERIFYING
    registry.start()
    assert verdict(release) == REGISTERED
