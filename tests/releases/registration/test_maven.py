import logging
import secrets
import time
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from releases.artifacts.store import StagedBlob, artifact_store
from releases.registration.maven import ArtifactRefused, RepositoryUnavailable, fetch
from releases.registration.maven_repositories import read_repositories
from tests import making
from tests.authority import make_certificate
from tests.cases import cases
from tests.maven_repository import Fault, MavenRepository, maven_repository, use_repositories
from wire.documents.artifact_uri import MavenUri

URI = MavenUri("com.acme", "app", "1.2.3")
DATA = secrets.token_bytes(1000)
DIGEST = making.digest_of(DATA)
OTHER = making.digest_of(b"other")
PASSWORD = "builder:secret of acme"
pytestmark = pytest.mark.usefixtures("nothing_is_left")


@pytest.fixture
def repository(settings: Any) -> Iterator[MavenRepository]:
    with maven_repository() as made:
        made.publish(URI, DATA)
        made.configure(settings)
        yield made


@pytest.fixture
def second() -> Iterator[MavenRepository]:
    """Another repository, with the artifact, and at another origin. It is not configured."""
    with maven_repository() as made:
        made.publish(URI, DATA)
        yield made


def download(digest: str = DIGEST, uri: MavenUri = URI, tenant: str = "acme") -> StagedBlob:
    return fetch(uri, digest, tenant, renew=lambda: None)


def downloaded(digest: str = DIGEST, uri: MavenUri = URI, tenant: str = "acme") -> bytes:
    staged = download(digest, uri, tenant)
    try:
        assert staged.digest == digest
        staged.sync()
        with staged.open() as file:
            return file.read()
    finally:
        staged.discard()


def refusal(digest: str = DIGEST, uri: MavenUri = URI, tenant: str = "acme") -> tuple[str, str]:
    with pytest.raises(ArtifactRefused) as refused:
        download(digest, uri, tenant)
    return refused.value.code, str(refused.value)


def unavailability(digest: str = DIGEST) -> str:
    with pytest.raises(RepositoryUnavailable) as unavailable:
        download(digest)
    return str(unavailable.value)


def test_an_artifact_is_downloaded_from_its_path_and_can_be_kept(repository: MavenRepository, settings: Any) -> None:
    settings.MAVEN_REPOSITORIES = read_repositories(repository.toml())
    for uri, path in (
        (URI, "/com/acme/app/1.2.3/app-1.2.3.jar"),
        (MavenUri("com.acme", "x", "1", "tar.gz", "all"), "/com/acme/x/1/x-1-all.tar.gz"),
    ):
        repository.publish(uri, DATA)
        assert downloaded(uri=uri) == DATA
        assert repository.requests[-1] == (path, None)
    download().keep()
    assert artifact_store().verified(DIGEST) is not None


def test_only_configured_groups_and_tenants_are_resolved(repository: MavenRepository, settings: Any) -> None:
    repository.configure(settings, tenants=("acme", "globex"))
    assert downloaded(tenant="globex") == DATA
    evil = MavenUri("com.acmeevil", "app", "1")
    digest = repository.publish(evil, DATA)
    for refused in (refusal(tenant="initech"), refusal(digest, evil)):
        assert refused[0] == "MAVEN_NOT_CONFIGURED"
    snapshot = MavenUri("com.acme", "app", "1.0-SNAPSHOT")
    assert refusal(repository.publish(snapshot, DATA), snapshot)[0] == "MAVEN_SNAPSHOT"
    assert len(repository.requests) == 1


def test_the_size_is_limited_also_of_an_endless_body(repository: MavenRepository, settings: Any) -> None:
    settings.MAX_ARTIFACT_BYTES = len(DATA)
    assert downloaded() == DATA
    settings.MAX_ARTIFACT_BYTES = len(DATA) - 1
    assert refusal()[0] == "MAVEN_ARTIFACT_TOO_LARGE"
    settings.MAX_ARTIFACT_BYTES = 1024**2
    repository.fault = Fault.ENDLESS
    assert refusal()[0] == "MAVEN_ARTIFACT_TOO_LARGE"


def test_other_bytes_are_a_finding_and_a_damaged_download_is_none(repository: MavenRepository) -> None:
    """The checksum file says whether the bytes are those of the repository."""
    for algorithm, other in (("sha1", "sha256"), ("sha256", "sha1")):
        repository.publish(URI, DATA)
        repository.file(URI).with_name(f"app-1.2.3.jar.{other}").unlink()
        for repository.fault in (Fault.CUT_OFF, Fault.CUT_OFF_UNDECLARED, Fault.SHORT_LENGTH, Fault.DAMAGED):
            assert "acme-releases" in unavailability(), (algorithm, repository.fault)
        repository.fault = None
        code, message = refusal(OTHER)
        assert code == "MAVEN_ARTIFACT_OTHER_DIGEST"
        assert DIGEST.removeprefix("sha256:") not in message
    repository.checksum_status = 503
    assert "503" in unavailability(OTHER), "no verdict while it cannot be read"
    repository.checksum_status = 403
    assert refusal(OTHER)[0] == "MAVEN_ARTIFACT_OTHER_DIGEST"


@cases("fault", [Fault.SILENT, Fault.STALLED, Fault.SLOW])
def test_a_download_that_takes_long_gives_no_verdict(repository: MavenRepository, settings: Any, fault: Fault) -> None:
    settings.MAVEN_SECONDS = 0.3
    repository.fault = fault
    began = time.monotonic()
    assert "time" in unavailability()
    assert time.monotonic() - began < 5


def test_an_outage_hides_no_repository(repository: MavenRepository, second: MavenRepository, settings: Any) -> None:
    use_repositories(settings, repository.entry("one"), second.entry("two"))
    repository.status = 503
    assert downloaded() == DATA
    second.status = 404
    assert "one" in unavailability(), "it may have the artifact"


def test_each_address_is_vetted(repository: MavenRepository, second: MavenRepository, settings: Any) -> None:
    settings.MAVEN_ALLOWED_NETWORKS = [ip_network("127.0.0.1/32")]
    repository.location = f"http://127.0.0.2:{urlsplit(second.url).port}"
    assert refusal()[0] == "MAVEN_REPOSITORY_NOT_ALLOWED"
    assert (len(repository.requests), second.requests) == (1, [])
    settings.MAVEN_ALLOWED_NETWORKS = [ip_network("10.0.0.0/8")]
    code, message = refusal()
    assert (code, "acme-releases" in message) == ("MAVEN_REPOSITORY_NOT_ALLOWED", True)
    assert len(repository.requests) == 1


def test_tls_is_required_to_stay(second: MavenRepository, settings: Any, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path / "certificate.pem", "127.0.0.1")
    settings.MAVEN_CA_FILE = str(certificate)
    with maven_repository(certificate) as repository:
        repository.publish(URI, DATA)
        repository.configure(settings)
        assert downloaded() == DATA
        repository.location = second.url
        assert refusal()[0] == "MAVEN_REPOSITORY_NOT_ALLOWED"
        assert not second.requests
        settings.MAVEN_CA_FILE = ""
        assert "certificate" in unavailability()


def test_credentials_stay_at_the_origin_of_the_repository(
    repository: MavenRepository, second: MavenRepository, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAVEN_PASSWORD", PASSWORD)
    repository.require(PASSWORD)
    header = repository.credentials
    repository.location = second.url
    repository.configure(settings, credentials="env:MAVEN_PASSWORD")
    assert downloaded() == DATA
    assert [sent for _, sent in repository.requests] == [header]
    assert [sent for _, sent in second.requests] == [None]
    repository.location, repository.status = None, 404
    use_repositories(settings, repository.entry(credentials="env:MAVEN_PASSWORD", mirrors=(second.url,)))
    assert downloaded() == DATA
    assert [sent for _, sent in second.requests] == [None, None]


@cases("credentials", [PASSWORD, None, "", "secret of acme", "Bearer secret of acme", "a:secret\nb"])
def test_messages_and_logs_name_the_repository_and_no_secret(
    repository: MavenRepository,
    settings: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    credentials: str | None,
) -> None:
    """Unusable credentials give no verdict."""
    file = tmp_path / "password"
    if credentials is not None:
        file.write_text(credentials)
    repository.require(PASSWORD)
    repository.configure(settings, credentials=f"file:{file}")
    repository.status = 500
    repository.requests.clear()
    caplog.clear()
    with caplog.at_level(logging.DEBUG):
        message = unavailability()
    assert "acme-releases" in message
    assert ("credentials" in message) is (credentials != PASSWORD)
    assert len(repository.requests) == (credentials == PASSWORD)
    for secret in ("secret", str(repository.credentials).removeprefix("Basic ")):
        assert secret not in message + caplog.text
