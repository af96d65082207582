import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coordinator_client.api import Client, Connection
from coordinator_client.errors import Refused
from pipelines import DefinitionError
from pipelines.release.descriptor import release
from pipelines.release.files import Repositories, RepositoryError
from pipelines.release.packaging import BuiltArtifact
from pipelines.release.publish import publish, upload_directly
from tests.cases import cases
from tests.receiving import Received
from tests.unit.pipelines.conftest import Recorder, Response
from wire.documents.artifact_uri import MavenUri
from wire.documents.contract import CONTRACT_NAME
from wire.documents.descriptor import ENVELOPE_NAME, Profile


class Coordinator(Recorder):
    """Accepts and registers each release. With a `location`, it redirects every request, as a store also may."""

    def __init__(self) -> None:
        super().__init__()
        self.location = ""
        self.finding = b""
        self.statuses = [b"VERIFYING", *[b"REGISTERED"] * 9]

    def response_to(self, request: Received) -> Response:
        if self.location:
            return Response(307, headers={"Location": self.location})
        if request.method == "POST":
            return Response(202, b"{}")
        return Response(200, b'{"status": "%s", "findings": [%s]}' % (self.statuses.pop(0), self.finding))

    @property
    def bodies(self) -> list[bytes]:
        return [request.body for request in self.requests if request.method == "POST"]


@pytest.fixture
def coordinators() -> Iterator[list[Coordinator]]:
    with Coordinator().running() as first, Coordinator().running() as second:
        yield [first, second]


@pytest.fixture
def coordinator(coordinators: list[Coordinator]) -> Coordinator:
    return coordinators[0]


@pytest.fixture
def folder(built: BuiltArtifact) -> Path:
    return release(built.path.parent, release_version="1.0").path.parent


def published(folder: Path, coordinator: Coordinator, verdict_timeout: float = 20) -> dict[str, Any]:
    client = Client(Connection(coordinator.origin, "acme", "dc_secret"))
    return publish(folder, client, progress=lambda _sent, _total: None, verdict_timeout=verdict_timeout)


def refused(folder: Path, coordinator: Coordinator) -> str:
    with pytest.raises(DefinitionError) as caught:
        published(folder, coordinator)
    assert coordinator.requests == []
    return str(caught.value)


def parts(coordinator: Coordinator) -> int:
    return coordinator.bodies[-1].count(b'name="artifact"')


@pytest.fixture
def hasty_with_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment has credentials for this machine, and nothing waits before a retry."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setattr("time.sleep", lambda _: None)


@pytest.mark.usefixtures("hasty_with_netrc")
def test_the_token_is_sent_only_to_the_coordinator(folder: Path, coordinators: list[Coordinator]) -> None:
    coordinator, other = coordinators
    assert published(folder, coordinator)["status"] == "REGISTERED"
    assert {request.headers.get("Authorization") for request in coordinator.requests} == {"Bearer dc_secret"}
    assert "dc_secret" not in repr(Connection("https://coordinator.example", "acme", "dc_secret"))

    coordinator.location = other.origin
    with pytest.raises(Refused, match="307"):
        published(folder, coordinator)
    assert other.requests == []


def test_an_overdue_verdict_names_the_server_that_does_not_answer(folder: Path, coordinator: Coordinator) -> None:
    coordinator.finding = b'{"code": "IMAGE_REGISTRY_UNAVAILABLE", "message": "it is silent"}'
    with pytest.raises(DefinitionError, match=r"VERIFYING after .* later\n  IMAGE_REGISTRY_UNAVAILABLE: it is silent"):
        published(folder, coordinator, verdict_timeout=0.04)


def test_files_and_signatures_that_do_not_fit_are_not_sent(folder: Path, coordinator: Coordinator) -> None:
    (folder / ENVELOPE_NAME).write_text(json.dumps({"payload": base64.b64encode(b"another").decode()}))
    assert "signs another descriptor" in refused(folder, coordinator)
    (folder / ENVELOPE_NAME).unlink()
    (folder / "org.acme.orders.zip").write_bytes(b"other")
    assert "does not have the digest in the descriptor" in refused(folder, coordinator)


def newer(built: BuiltArtifact, version: str, **locations: Any) -> Path:
    """Release the artifact with the profile tpf-2026-10. Return the file in the folder of the release."""
    written = release(
        built.path.parent, [built.path], release_version=version, profile=Profile.TPF_2026_10, **locations
    )
    [artifact] = written.path.parent.glob("*.zip")
    return artifact


def test_only_a_file_from_a_repository_may_be_missing(built: BuiltArtifact, coordinator: Coordinator) -> None:
    artifact = newer(built, "1.0")
    folder, data = artifact.parent, artifact.read_bytes()
    artifact.write_bytes(b"other")
    assert "does not have the digest in the descriptor" in refused(folder, coordinator)
    artifact.unlink()
    assert refused(folder, coordinator).startswith("NO_ARTIFACT: the artifact file:///")
    image = f"oci://ghcr.io/acme/app@sha256:{'1' * 64}"
    artifact = newer(built, "1.1", maven=["org.acme:orders:zip:1.0"], images=[image])
    folder = artifact.parent
    (folder / CONTRACT_NAME).write_text("{}")
    published(folder, coordinator)
    assert (parts(coordinator), data in coordinator.bodies[-1]) == (1, True), "it is found by its digest"
    assert b'name="contract"' in coordinator.bodies[-1]
    assert (folder / "pipeline-release.json").read_bytes() in coordinator.bodies[-1]
    artifact.unlink()
    published(folder, coordinator)
    assert parts(coordinator) == 0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "app.zip"
    path.write_bytes(b"0123456789")
    return path


def send(file: Path, status: str, *missing: dict[str, Any]) -> None:
    """Send a file to a coordinator that always answers with this status and these missing parts."""
    upload = {"uploadId": "u", "status": status, "size": 10, "received": 0, "finding": None, "missing": list(missing)}
    upload_directly(file, "sha256:0", lambda *_, **__: upload, lambda *_: None, verdict_timeout=20.0)


@pytest.mark.usefixtures("hasty_with_netrc")
def test_stores_get_no_credentials_and_redirects_are_not_followed(file: Path, coordinators: list[Coordinator]) -> None:
    first, other = coordinators
    first.location = other.origin
    with pytest.raises(DefinitionError, match="STORE_UNREACHABLE"):
        send(file, "OPEN", {"url": f"{first.origin}/0", "offset": 0, "size": 10})
    assert {request.headers.get("Authorization") for request in first.requests} == {None}
    assert other.requests == []


def test_a_rejected_upload_is_an_error(file: Path) -> None:
    with pytest.raises(DefinitionError, match="UPLOAD_REJECTED"):
        send(file, "REJECTED")


LOCATION = MavenUri("org.acme", "orders", "1.0+1", "zip")
PATH = "org/acme/orders/1.0+1/orders-1.0+1.zip"
CREDENTIALS = "ci:a:secret"
BASIC = f"Basic {base64.b64encode(CREDENTIALS.encode()).decode()}"
FOUND = Response(body=b"the artifact")
REPOSITORY = "https://repo.example"


class Repository(Recorder):
    """Answers requests for the artifact. `redirects` has locations by path. Everything else is unknown."""

    def __init__(self) -> None:
        super().__init__()
        self.found = FOUND
        self.redirects: dict[str, str] = {}

    def response_to(self, request: Received) -> Response:
        if request.path in self.redirects:
            return Response(302, headers={"Location": self.redirects[request.path]})
        return self.found if request.path.endswith(PATH) else Response(404)


@pytest.fixture
def repositories() -> Iterator[list[Repository]]:
    with Repository().running() as first, Repository().running() as second:
        yield [first, second]


@pytest.fixture
def repository(repositories: list[Repository]) -> Repository:
    return repositories[0]


def fetched(tmp_path: Path, *places: str, **options: Any) -> bytes:
    repositories = Repositories(places, **options)
    repositories.require_usable()
    path, _ = repositories.get(LOCATION, tmp_path / "target")
    return path.read_bytes()


def failure(tmp_path: Path, *places: str, **options: Any) -> RepositoryError:
    with pytest.raises(RepositoryError) as caught:
        fetched(tmp_path, *places, **options)
    return caught.value


def test_credentials_are_not_sent_to_the_target_of_a_redirect(repositories: list[Repository], tmp_path: Path) -> None:
    first, second = repositories
    first.redirects = {f"/{PATH}": "/moved?signature=1", "/moved?signature=1": f"{second.origin}/store/{PATH}"}
    assert fetched(tmp_path, first.origin, credentials=CREDENTIALS) == b"the artifact"
    assert [request.headers.get("Authorization") for request in first.requests] == [BASIC] * 2
    assert [(request.path, request.headers.get("Authorization")) for request in second.requests] == [
        (f"/store/{PATH}", None)
    ]


@cases("location", ["", "file:///etc/passwd", "http://user:password@127.0.0.1/", f"/{PATH}"])
def test_redirects_lead_to_a_web_address_and_end(repository: Repository, tmp_path: Path, location: str) -> None:
    repository.redirects[f"/{PATH}"] = location
    error = failure(tmp_path, repository.origin)
    assert (error.code, "password" in str(error)) == ("REPOSITORY_UNREACHABLE", False)


def test_a_download_is_limited_in_size_and_time_and_must_be_complete(repository: Repository, tmp_path: Path) -> None:
    assert "more than 11 bytes" in str(failure(tmp_path, repository.origin, max_bytes=11))
    for broken in (Response(body=b"text", cut=1), Response(206, b"text")):
        repository.found = broken
        assert failure(tmp_path, repository.origin).code == "REPOSITORY_UNREACHABLE"
    repository.found = Response(body=b"the artifact", pause=0.05)
    started = time.monotonic()
    assert "longer than 0.1 s" in str(failure(tmp_path, repository.origin, download_seconds=0.1))
    assert time.monotonic() - started < 0.5


@cases(
    ("places", "credentials", "code"),
    [
        (["/tmp", "https://ci:secret@repo.example/maven"], "", "INVALID_REPOSITORY"),
        (["/tmp", f"{REPOSITORY}/?secret=1"], "", "INVALID_REPOSITORY"),
        (["/tmp", "/nowhere/secret"], "", "INVALID_REPOSITORY"),
        ([REPOSITORY], "secret", "INVALID_REPOSITORY_CREDENTIALS"),
        (["http://repo.example"], "ci:secret", "INVALID_REPOSITORY_CREDENTIALS"),
        ([REPOSITORY, f"{REPOSITORY}:8443"], "ci:secret", "INVALID_REPOSITORY_CREDENTIALS"),
    ],
)
def test_credentials_reach_one_host_and_never_in_clear_text(places: list[str], credentials: str, code: str) -> None:
    """An error shows neither credentials nor the URL of a repository."""
    with pytest.raises(DefinitionError) as caught:
        Repositories(places, credentials).require_usable()
    assert caught.value.code == code
    assert "secret" not in str(caught.value)
