"""Artifacts from Maven repositories. Small HTTP servers replace the repositories of other companies."""

import base64
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from pipelines import DefinitionError
from pipelines.release.maven_repositories import Repositories, RepositoryError
from tests.cases import cases
from tests.unit.pipelines.small_servers import Quiet, SmallServer, serving
from wire.documents.artifact_uri import MavenUri

LOCATION = MavenUri("org.acme", "orders", "1.0+1", "zip")
PATH = "org/acme/orders/1.0+1/orders-1.0+1.zip"
CREDENTIALS = "ci:a:secret"


@dataclass
class Repository(SmallServer):
    """Answers requests for the artifact. `redirects` has locations by path. Everything else is unknown."""

    body: bytes = b"the artifact"
    status: int = 200
    authorization: str = ""
    """If it is set, other requests get the status 401."""
    length: int | None = None
    pause: float = 0
    redirects: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        repository = self

        class Handler(Quiet, BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                authorization = self.headers.get("Authorization", "")
                repository.requests.append((self.path, authorization))
                if repository.authorization not in ("", authorization):
                    self.answer(401)
                elif self.path in repository.redirects:
                    self.answer(302, Location=repository.redirects[self.path])
                elif self.path.endswith(PATH):
                    self.answer(repository.status, repository.body)
                else:
                    self.answer(404)

            def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(repository.length or len(body)))
                self.end_headers()
                for byte in body:
                    self.wfile.write(bytes([byte]))
                    time.sleep(repository.pause)

        self.listen(Handler)


@pytest.fixture
def repositories() -> Iterator[list[Repository]]:
    made = [Repository(), Repository()]
    with serving(*made):
        yield made


@pytest.fixture
def repository(repositories: list[Repository]) -> Repository:
    return repositories[0]


def basic(credentials: str) -> str:
    return f"Basic {base64.b64encode(credentials.encode()).decode()}"


def fetched(tmp_path: Path, *places: str, **options: Any) -> bytes:
    asked = Repositories(places, **options)
    asked.require_usable()
    path, _ = asked.get(LOCATION, tmp_path / "target")
    return path.read_bytes()


def failure(tmp_path: Path, *places: str, **options: Any) -> RepositoryError:
    with pytest.raises(RepositoryError) as caught:
        fetched(tmp_path, *places, **options)
    return caught.value


def test_an_artifact_comes_from_the_first_repository_that_has_it(
    repositories: list[Repository], tmp_path: Path
) -> None:
    local, (first, second) = tmp_path / "local", repositories
    local.mkdir()
    first.status = second.status = 404
    places = [str(local), f"{first.url}/maven2/", f"{second.url}/maven2/"]
    assert failure(tmp_path, *places).code == failure(tmp_path).code == "ARTIFACT_FILE_MISSING"
    second.status = 200
    found = Repositories(places).get(LOCATION, tmp_path / "target")
    assert found == (tmp_path / "target", f"{second.url}/maven2/{PATH}")
    assert found[0].read_bytes() == b"the artifact"
    assert first.requests == second.requests == [(f"/maven2/{PATH}", "")] * 2
    (local / PATH).parent.mkdir(parents=True)
    (local / PATH).write_bytes(b"local")
    assert fetched(tmp_path, *places) == b"local"
    assert len(first.requests) == 2


def test_credentials_are_not_sent_to_the_target_of_a_redirect(repositories: list[Repository], tmp_path: Path) -> None:
    first, second = repositories
    first.authorization = basic(CREDENTIALS)
    first.redirects[f"/{PATH}"] = "/moved?signature=1"
    first.redirects["/moved?signature=1"] = f"{second.url}/store/{PATH}"
    assert fetched(tmp_path, first.url, credentials=CREDENTIALS) == b"the artifact"
    assert [authorization for _, authorization in first.requests] == [basic(CREDENTIALS)] * 2
    assert second.requests == [(f"/store/{PATH}", "")]


@cases("location", ["", "file:///etc/passwd", "http://user:password@127.0.0.1/"])
def test_a_redirect_leads_to_a_web_address(repository: Repository, tmp_path: Path, location: str) -> None:
    repository.redirects[f"/{PATH}"] = location
    error = failure(tmp_path, repository.url)
    assert (error.code, "password" in str(error)) == ("REPOSITORY_UNREACHABLE", False)


def test_a_download_is_limited_in_size_and_time(repository: Repository, tmp_path: Path) -> None:
    assert "more than 11 bytes" in str(failure(tmp_path, repository.url, max_bytes=11))
    repository.pause = 0.05
    started = time.monotonic()
    assert "longer than 0.1 s" in str(failure(tmp_path, repository.url, download_seconds=0.1))
    assert time.monotonic() - started < 0.5


def test_a_broken_download_is_not_used(repository: Repository, tmp_path: Path) -> None:
    repository.length = 100
    assert failure(tmp_path, repository.url).code == "REPOSITORY_UNREACHABLE"
    repository.length, repository.status = None, 206
    assert failure(tmp_path, repository.url).code == "REPOSITORY_UNREACHABLE"
    assert failure(tmp_path, "http://127.0.0.1:1").code == "REPOSITORY_UNREACHABLE"


REPOSITORY = "https://repo.example"


@cases(
    ("places", "credentials", "code"),
    [
        *(
            (["/tmp", place], "", "INVALID_REPOSITORY")
            for place in ("https://ci:secret@repo.example/maven", f"{REPOSITORY}/?secret=1", "/nowhere/secret")
        ),
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
    assert credentials or "repository 2" in caught.value.message
    assert "secret" not in str(caught.value)
