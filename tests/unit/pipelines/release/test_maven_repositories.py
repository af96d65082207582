"""Artifacts from Maven repositories. Small HTTP servers replace the repositories of other companies."""

import base64
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines import DefinitionError
from pipelines.release.maven_repositories import Repositories, RepositoryError
from tests.cases import cases
from tests.receiving import Received
from tests.unit.pipelines.small_servers import Recorder, Response, serving
from wire.documents.artifact_uri import MavenUri

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
    made = [Repository(), Repository()]
    with serving(*made):
        yield made


@pytest.fixture
def repository(repositories: list[Repository]) -> Repository:
    return repositories[0]


def fetched(tmp_path: Path, *places: str, **options: Any) -> bytes:
    asked = Repositories(places, **options)
    asked.require_usable()
    path, _ = asked.get(LOCATION, tmp_path / "target")
    return path.read_bytes()


def failure(tmp_path: Path, *places: str, **options: Any) -> RepositoryError:
    with pytest.raises(RepositoryError) as caught:
        fetched(tmp_path, *places, **options)
    return caught.value


def test_credentials_are_not_sent_to_the_target_of_a_redirect(repositories: list[Repository], tmp_path: Path) -> None:
    first, second = repositories
    first.redirects = {f"/{PATH}": "/moved?signature=1", "/moved?signature=1": f"{second.url}/store/{PATH}"}
    assert fetched(tmp_path, first.url, credentials=CREDENTIALS) == b"the artifact"
    assert [request.headers.get("Authorization") for request in first.requests] == [BASIC] * 2
    assert [(request.path, request.headers.get("Authorization")) for request in second.requests] == [
        (f"/store/{PATH}", None)
    ]


@cases("location", ["", "file:///etc/passwd", "http://user:password@127.0.0.1/", f"/{PATH}"])
def test_redirects_lead_to_a_web_address_and_end(repository: Repository, tmp_path: Path, location: str) -> None:
    repository.redirects[f"/{PATH}"] = location
    error = failure(tmp_path, repository.url)
    assert (error.code, "password" in str(error)) == ("REPOSITORY_UNREACHABLE", False)


def test_a_download_is_limited_in_size_and_time_and_must_be_complete(repository: Repository, tmp_path: Path) -> None:
    assert "more than 11 bytes" in str(failure(tmp_path, repository.url, max_bytes=11))
    for broken in (Response(body=b"text", cut=1), Response(206, b"text")):
        repository.found = broken
        assert failure(tmp_path, repository.url).code == "REPOSITORY_UNREACHABLE"
    repository.found = Response(body=b"the artifact", pause=0.05)
    started = time.monotonic()
    assert "longer than 0.1 s" in str(failure(tmp_path, repository.url, download_seconds=0.1))
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
def test_credentials_reach_one_host_and_no_network_in_clear_text(
    places: list[str], credentials: str, code: str
) -> None:
    """An error shows neither credentials nor the URL of a repository."""
    with pytest.raises(DefinitionError) as caught:
        Repositories(places, credentials).require_usable()
    assert caught.value.code == code
    assert "secret" not in str(caught.value)
