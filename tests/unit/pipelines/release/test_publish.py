"""The requests of a publisher and its timeout. A small HTTP server replaces the coordinator."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines import DefinitionError
from pipelines.release.descriptor import ENVELOPE_NAME, release
from pipelines.release.located_artifacts import Locations
from pipelines.release.packaging import BuiltArtifact
from pipelines.release.publish import Target, activate, publish
from tests.unit.pipelines.small_servers import Recorder, Request, Response, serving
from wire.documents.descriptor import Profile


class Coordinator(Recorder):
    """Answers each POST with 202, or 409 and `refusal`, and each GET with the next of `statuses`."""

    def __init__(self) -> None:
        super().__init__()
        self.statuses = ["REGISTERED"]
        self.refusal: dict[str, Any] = {}
        self.location = ""

    def respond(self, request: Request) -> Response:
        if self.location:
            return Response(307, headers={"Location": self.location})
        if request.method == "POST":
            return Response(409 if self.refusal else 202, json.dumps(self.refusal).encode())
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return Response(200, json.dumps({"status": status}).encode())

    @property
    def bodies(self) -> list[bytes]:
        return [request.body for request in self.requests if request.method == "POST"]


@pytest.fixture
def coordinators() -> Iterator[list[Coordinator]]:
    made = [Coordinator(), Coordinator()]
    with serving(*made):
        yield made


@pytest.fixture
def coordinator(coordinators: list[Coordinator]) -> Coordinator:
    return coordinators[0]


@pytest.fixture
def folder(built: BuiltArtifact) -> Path:
    release(built.path.parent, release_version="1.0")
    return built.path.parent


def published(
    folder: Path, coordinator: Coordinator, *, tenant: str = "acme", verdict_timeout: float = 20
) -> dict[str, Any]:
    target = Target(coordinator.url, tenant, "dc_secret")
    return publish(folder, target, progress=lambda _sent, _total: None, verdict_timeout=verdict_timeout)


def refused(folder: Path, coordinator: Coordinator) -> str:
    """Return the error of a release of which nothing is sent."""
    with pytest.raises(DefinitionError) as caught:
        published(folder, coordinator)
    assert coordinator.requests == []
    return str(caught.value)


def parts(coordinator: Coordinator, name: str = "artifact") -> int:
    """Return how many parts with this name the newest release has."""
    return coordinator.bodies[-1].count(f'name="{name}"'.encode())


def change_descriptor(folder: Path, **members: Any) -> None:
    file = folder / "pipeline-release.json"
    file.write_text(json.dumps(json.loads(file.read_bytes()) | members))


def test_it_waits_for_the_verdict(folder: Path, coordinator: Coordinator) -> None:
    coordinator.statuses = ["UPLOADED", "VERIFYING", "REJECTED"]
    assert published(folder, coordinator)["status"] == "REJECTED"
    coordinator.statuses = [*["VERIFYING"] * 10, "REGISTERED"]
    with pytest.raises(DefinitionError, match="still VERIFYING"):
        published(folder, coordinator, verdict_timeout=0.1)


def test_the_token_is_sent_only_to_the_coordinator(
    folder: Path, coordinators: list[Coordinator], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator, other = coordinators
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    published(folder, coordinator)
    assert {request.authorization for request in coordinator.requests} == {"Bearer dc_secret"}
    assert "dc_secret" not in repr(Target("https://coordinator.example", "acme", "dc_secret"))

    coordinator.location = other.url
    with pytest.raises(DefinitionError, match="307"):
        published(folder, coordinator)
    assert other.requests == []


def test_names_are_escaped_in_addresses(folder: Path, coordinator: Coordinator) -> None:
    change_descriptor(folder, pipelineId="orders?x=1&y", releaseVersion="1?y")
    published(folder, coordinator, tenant="../acme")
    tenant = "/api/v1/tenants/..%2Facme/pipelines/orders%3Fx%3D1%26y/releases"
    assert [request.path for request in coordinator.requests] == [tenant, f"{tenant}/1%3Fy"]


def test_files_and_signatures_that_do_not_fit_the_descriptor_are_not_sent(
    folder: Path, coordinator: Coordinator
) -> None:
    (folder / ENVELOPE_NAME).write_text(json.dumps({"payload": base64.b64encode(b"another").decode()}))
    assert "signs another descriptor" in refused(folder, coordinator)
    (folder / ENVELOPE_NAME).unlink()
    (folder / "org.acme.orders.zip").write_bytes(b"other")
    assert "does not have the digest in the descriptor" in refused(folder, coordinator)


def test_each_file_is_sent_once_and_with_the_contract(folder: Path, coordinator: Coordinator) -> None:
    [first] = json.loads((folder / "pipeline-release.json").read_bytes())["artifacts"]
    image = {"artifactId": "image", "kind": "container-image", "digest": f"sha256:{'1' * 64}"}
    image["uri"] = f"registry.example/app@{image['digest']}"
    change_descriptor(folder, artifacts=[first, {**first, "artifactId": "again", "uri": "copy.zip"}, image])
    (folder / "copy.zip").write_bytes((folder / first["uri"]).read_bytes())
    (folder / "pipeline-contract.json").write_text("{}")
    published(folder, coordinator)
    assert [parts(coordinator, name) for name in ("artifact", "contract", "descriptor")] == [1, 1, 1]


def newer(folder: Path, **locations: Any) -> Path:
    """Release the artifact again, with the profile tpf-2026-10. Return the artifact."""
    release(folder, release_version="1.0", profile=Profile.TPF_2026_10, locations=Locations(**locations))
    [artifact] = folder.glob("*.zip")
    return artifact


def test_only_a_file_that_the_coordinator_gets_from_a_repository_may_be_missing(
    folder: Path, coordinator: Coordinator
) -> None:
    artifact = newer(folder)
    data = artifact.read_bytes()
    artifact.write_bytes(b"other")
    assert "does not have the digest in the descriptor" in refused(folder, coordinator)
    artifact.unlink()
    assert refused(folder, coordinator).startswith("NO_ARTIFACT: the artifact file:///")
    artifact.write_bytes(data)
    artifact = newer(
        folder,
        maven=["org.acme:orders:zip:1.0"],
    )
    published(folder, coordinator)
    assert (parts(coordinator), data in coordinator.bodies[-1]) == (1, True), "it is found by its digest"
    assert (folder / "pipeline-release.json").read_bytes() in coordinator.bodies[-1]
    artifact.unlink()
    published(folder, coordinator)
    assert parts(coordinator) == 0


def test_a_refused_activation_says_what_to_start(folder: Path, coordinator: Coordinator) -> None:
    coordinator.refusal = {"code": "WORKER_REQUIRED", "detail": "Not now."}
    release = {"pipelineId": "org.acme.orders", "releaseVersion": "1.0"}
    with pytest.raises(DefinitionError, match="WORKER_REQUIRED: Not now") as caught:
        activate(folder, release, Target(coordinator.url, "acme", "dc_secret"), reason="")
    assert caught.value.message.endswith(f"pipelines worker --release {folder}/pipeline-release.json")
