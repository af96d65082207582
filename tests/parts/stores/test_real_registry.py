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


@pytest.fixture
def registry(settings: Any, tmp_path: Path) -> Iterator[DockerRegistry]:
    """A registry that requires a password."""
    with docker_registry(tmp_path, requires_password=True) as made:
        settings.IMAGE_REGISTRY_CHECK = True
        settings.IMAGE_REGISTRY_ALLOWED_NETWORKS = [ip_network("127.0.0.0/8")]
        settings.IMAGE_REGISTRIES_PLAIN_HTTP = [made.host]
        settings.IMAGE_REGISTRY_SECONDS = 5
        settings.IMAGE_REGISTRY_CREDENTIALS = {made.host: f"{USER}:{PASSWORD}"}
        yield made


def uploaded(registry: DockerRegistry, digest: str, repository: str = "acme/app") -> Release:
    document = making.descriptor(CONTRACT, b"", kind="container-image")
    document["artifacts"][0] |= {"uri": registry.reference(repository, digest), "digest": digest}
    return making.upload(making.tenant(), document).release


def verdict(release: Release) -> tuple[str, list[tuple[str, str]]]:
    verify_release(release.pk)
    release.refresh_from_db()
    return release.status, [(finding["code"], finding["field"]) for finding in release.findings]


def test_images_of_each_media_type_are_found_in_their_repository(registry: DockerRegistry) -> None:
    for media_type in (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST):
        digest = registry.push_image("acme/app", media_type)
        assert verdict(uploaded(registry, digest)) == REGISTERED, media_type
    assert verdict(uploaded(registry, digest, "acme/new")) == MISSING
    assert verdict(uploaded(registry, making.digest_of(b"missing"))) == MISSING


def test_images_are_found_with_the_right_credentials_only(registry: DockerRegistry, settings: Any) -> None:
    digest = registry.push_image("acme/app")
    for credentials in ({}, {registry.host: f"{USER}:wrong"}):
        settings.IMAGE_REGISTRY_CREDENTIALS = credentials
        assert verdict(uploaded(registry, digest)) == DENIED


def test_the_check_is_repeated_after_a_stopped_registry_returns(registry: DockerRegistry) -> None:
    release = uploaded(registry, registry.push_image("acme/app"))
    registry.stop()
    assert verdict(release) == ("VERIFYING", [])
    registry.start()
    assert verdict(release) == REGISTERED
