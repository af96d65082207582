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
from tests.raising import error_of
from tests.receiving import Receiver, dripping, one_client, receiver, receiving, serving
from wire.documents.artifact_uri import MavenUri
from wire.documents.contract import CONTRACT_NAME
from wire.documents.descriptor import ENVELOPE_NAME, Profile

__all__ = ["receiver"]


VERIFYING, REGISTERED = (b'{"status": "%s", "findings": []}' % status for status in (b"VERIFYING", b"REGISTERED"))


@pytest.fixture
def coordinators() -> Iterator[list[Receiver]]:
    """The first one accepts and registers each release."""
    with receiving() as first, receiving() as second:
        first.statuses, first.bodies = [202, 200], [b"{}", VERIFYING, REGISTERED]
        yield [first, second]


@pytest.fixture
def coordinator(coordinators: list[Receiver]) -> Receiver:
    return coordinators[0]


def redirect(server: Receiver, location: str) -> None:
    server.statuses, server.answer_headers = [307], {"Location": location}


@pytest.fixture
def folder(built: BuiltArtifact) -> Path:
    return release(built.path.parent, release_version="1.0").path.parent


def published(folder: Path, coordinator: Receiver, verdict_timeout: float = 20) -> dict[str, Any]:
    client = Client(Connection(coordinator.origin, "acme", "dc_secret"))
    return publish(folder, client, progress=lambda _sent, _total: None, verdict_timeout=verdict_timeout)


def refused(folder: Path, coordinator: Receiver) -> str:
    refusal = str(error_of(DefinitionError, published, folder, coordinator))
    assert coordinator.requests == []
    return refusal


def sent(folder: Path, coordinator: Receiver) -> bytes:
    """Publish a release, and return the body of the request."""
    published(folder, coordinator)
    return [request.body for request in coordinator.requests if request.method == "POST"][-1]


@pytest.fixture
def hasty_with_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment has credentials for this machine, and nothing waits before a retry."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setattr("time.sleep", lambda _: None)


@pytest.mark.usefixtures("hasty_with_netrc")
def test_the_token_is_sent_only_to_the_coordinator(folder: Path, coordinators: list[Receiver]) -> None:
    coordinator, other = coordinators
    assert published(folder, coordinator)["status"] == "REGISTERED"
    assert {request.headers.get("Authorization") for request in coordinator.requests} == {"Bearer dc_secret"}
    assert "dc_secret" not in repr(Connection("https://coordinator.example", "acme", "dc_secret"))

    redirect(coordinator, other.origin)
    with pytest.raises(Refused, match="307"):
        published(folder, coordinator)
    assert other.requests == []


def test_an_overdue_verdict_names_the_server_that_does_not_answer(folder: Path, coordinator: Receiver) -> None:
    finding = b'{"code": "IMAGE_REGISTRY_UNAVAILABLE", "message": "it is silent"}'
    coordinator.bodies = [b"{}", VERIFYING.replace(b"[]", b"[%s]" % finding)]
    with pytest.raises(DefinitionError, match=r"VERIFYING after .* later\n  IMAGE_REGISTRY_UNAVAILABLE: it is silent"):
        published(folder, coordinator, verdict_timeout=0.04)


def test_files_and_signatures_that_do_not_fit_are_not_sent(folder: Path, coordinator: Receiver) -> None:
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


def test_only_a_file_from_a_repository_may_be_missing(built: BuiltArtifact, coordinator: Receiver) -> None:
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
    body = sent(folder, coordinator)
    assert (body.count(b'name="artifact"'), data in body) == (1, True), "it is found by its digest"
    assert b'name="contract"' in body
    assert (folder / "pipeline-release.json").read_bytes() in body
    artifact.unlink()
    assert b'name="artifact"' not in sent(folder, coordinator)


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
def test_stores_get_no_credentials_and_redirects_are_not_followed(file: Path, coordinators: list[Receiver]) -> None:
    first, other = coordinators
    redirect(first, other.origin)
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
REPOSITORY = "https://repo.example"


def fetched(tmp_path: Path, *places: str, **options: Any) -> bytes:
    repositories = Repositories(places, **options)
    repositories.require_usable()
    path, _ = repositories.get(LOCATION, tmp_path / "target")
    return path.read_bytes()


def failure(tmp_path: Path, *places: str, **options: Any) -> RepositoryError:
    return error_of(RepositoryError, fetched, tmp_path, *places, **options)


def asked(server: Receiver) -> list[tuple[str, str | None]]:
    return [(request.path, request.headers.get("Authorization")) for request in server.requests]


def test_credentials_are_not_sent_to_the_target_of_a_redirect(tmp_path: Path) -> None:
    with serving(b"", b"the artifact") as first, serving(b"the artifact") as second:
        for location, there in (("/moved?signature=1", []), (f"{second.origin}/store/{PATH}", [f"/store/{PATH}"])):
            redirect(first, location)
            first.statuses, first.requests = [307, 200], []
            assert fetched(tmp_path, first.origin, credentials=CREDENTIALS) == b"the artifact"
            here = [f"/{PATH}"] if there else [f"/{PATH}", location]
            assert (asked(first), asked(second)) == ([(path, BASIC) for path in here], [(path, None) for path in there])


@cases("location", ["", "file:///etc/passwd", "http://user:password@127.0.0.1/", f"/{PATH}"])
def test_redirects_lead_to_a_web_address_and_end(receiver: Receiver, tmp_path: Path, location: str) -> None:
    redirect(receiver, location)
    error = failure(tmp_path, receiver.origin)
    assert (error.code, "password" in str(error)) == ("REPOSITORY_UNREACHABLE", False)


def test_a_download_is_limited_in_size_and_time_and_must_be_complete(receiver: Receiver, tmp_path: Path) -> None:
    receiver.statuses, receiver.bodies = [200, 206], [b"the artifact"]
    assert "more than 11 bytes" in str(failure(tmp_path, receiver.origin, max_bytes=11))
    assert failure(tmp_path, receiver.origin).code == "REPOSITORY_UNREACHABLE"
    begun = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"
    with one_client(lambda connection, _: connection.sendall(begun + b"t")) as place:
        assert failure(tmp_path, f"http://{place}").code == "REPOSITORY_UNREACHABLE"
    started = time.monotonic()
    with dripping(begun) as place:
        assert "longer than 0.1 s" in str(failure(tmp_path, f"http://{place}", download_seconds=0.1))
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
    refusal = error_of(DefinitionError, Repositories(places, credentials).require_usable)
    assert (refusal.code, "secret" in str(refusal)) == (code, False)
