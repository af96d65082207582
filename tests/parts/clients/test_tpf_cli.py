"""The double of the framework's deployment command line is as strict as the published protocol."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from embedded.product import PROJECT
from tests.docker_registry import OCI_INDEX, PASSWORD, USER, docker_registry
from tests.parts.clients.tpf_cli import cloud
from tests.parts.clients.tpf_cli.__main__ import main
from tests.parts.clients.tpf_cli.scripted import (
    ScriptedServer,
    archive,
    artifact,
    contract,
    descriptor,
    digest_of,
    scripted_server,
    stored,
)

OTHER = digest_of(b"other")


@dataclass
class Desk:
    """A folder with a release and a configuration, and the environment variables of the command line."""

    folder: Path
    server: ScriptedServer
    capture: pytest.CaptureFixture[str]
    variables: dict[str, str] = field(default_factory=lambda: {"TPF_CREDENTIAL_CLOUD": "secret"})

    def describe(self, document: Any) -> None:
        (self.folder / "release.json").write_text(json.dumps(document, indent=3) + "\n\n")

    def configure(self, profile: dict[str, Any] | None = None, **target: Any) -> None:
        made = {"type": "tpf-cloud", "endpoint": f"http://{self.server.host}", "organization": "acme"}
        made |= {
            "application": "orders",
            "environment": "production",
            "mode": "CUSTOMER_MANAGED",
            "credential": "cloud",
        }
        environment = {"resolverProfile": "default", "target": {**made, **target}}
        self.write({"resolverProfiles": {"default": profile or {}}, "environments": {"staging": environment}})

    def write(self, configuration: Any) -> None:
        (self.folder / "deploy.json").write_text(json.dumps(configuration))

    def run(self, *command: str) -> int:
        files = {"--release": self.folder / "release.json", "--config": self.folder / "deploy.json"}
        options = [str(part) for option in files.items() for part in option]
        return main([*command, *options, "--output", "json"], self.variables)

    def deploy(self, environment: str = "staging") -> int:
        return self.run("deploy", environment)

    def verify(self) -> int:
        return self.run("release", "verify")

    @property
    def error(self) -> str:
        return self.capture.readouterr().err


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    with scripted_server() as server:
        made = Desk(tmp_path, server, capsys)
        made.configure()
        made.describe(descriptor(stored(tmp_path / "app.jar", archive(contract()))))
        yield made


# --- registration ---


def test_a_release_is_registered_with_its_exact_bytes(desk: Desk) -> None:
    endpoint = f"http://{desk.server.host}/base/?tenant=a%20b"
    desk.configure(endpoint=endpoint, organization="a b/c", application="é~*", environment="x+y")
    assert desk.deploy() == 0
    sent = (desk.folder / "release.json").read_bytes()
    [request] = desk.server.requests
    assert (request.method, request.body) == ("POST", sent)
    assert request.target == (
        "/base/api/v1/organizations/a%20b%2Fc/applications/%C3%A9%7E*/environments/x%2By/deployments?tenant=a%20b"
    )
    expected = {
        "Authorization": "Bearer secret",
        "Content-Type": "application/vnd.tpf.pipeline-release+json",
        "Idempotency-Key": cloud.idempotency_key(digest_of(sent), "staging"),
        "X-TPF-Deployment-Mode": "CUSTOMER_MANAGED",
        "Upgrade": "h2c",
    }
    assert expected.items() <= request.headers.items()
    assert json.loads(desk.capture.readouterr().out) == {
        "operation": "deploy",
        "environment": "staging",
        "status": "REGISTERED",
        "deploymentId": "d-1",
        "descriptorDigest": digest_of(sent),
        "pipelineId": "org.example.orders",
        "contractVersion": f"sha256:{'c' * 64}",
        "releaseVersion": "1.0",
    }


def test_the_key_is_the_one_of_the_framework() -> None:
    """Java computes the same UUID with `UUID.nameUUIDFromBytes`."""
    assert cloud.idempotency_key("sha256:abc", "staging") == "723ae650-781c-3a6a-8de1-793b325937ff"


def test_the_module_runs_as_a_command(desk: Desk) -> None:
    options = ["--release", desk.folder / "release.json", "--config", desk.folder / "deploy.json", "--output", "json"]
    command = [sys.executable, "-m", "tests.parts.clients.tpf_cli", "deploy", "staging", *map(str, options)]
    done = subprocess.run(command, cwd=PROJECT, env=desk.variables, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["deploymentId"] == "d-1"
    desk.server.status = 403
    assert subprocess.run(command, cwd=PROJECT, env=desk.variables, capture_output=True, timeout=60).returncode == 5


@pytest.mark.parametrize("status", [200, 202, 204, 302, 307, 400, 404, 409, 500, 503])
def test_only_created_is_success(desk: Desk, status: int) -> None:
    desk.server.status = status
    desk.server.headers["Location"] = f"http://{desk.server.host}/elsewhere"
    assert desk.deploy() == 6
    assert len(desk.server.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"deploymentId": "d-1", "status": "REGISTERED", "more": 1},
        {"deploymentId": "d-1"},
        {"status": "REGISTERED"},
        {"deploymentId": " ", "status": "REGISTERED"},
        {"deploymentId": 1, "status": "REGISTERED"},
        {"deploymentId": "d-1", "status": "VERIFYING"},
        {"deploymentId": "d-1", "status": "registered"},
        ["d-1", "REGISTERED"],
    ],
)
def test_the_response_has_exactly_two_members(desk: Desk, body: Any) -> None:
    desk.server.body = json.dumps(body).encode()
    assert desk.deploy() == 6


@pytest.mark.parametrize("body", [b"", b"{", b'{"deploymentId":"a","deploymentId":"b","status":"REGISTERED"}'])
def test_the_response_is_json_without_repeated_members(desk: Desk, body: bytes) -> None:
    desk.server.body = body
    assert desk.deploy() == 6


def test_the_response_says_that_it_is_json(desk: Desk) -> None:
    desk.server.headers["Content-Type"] = "text/plain"
    assert desk.deploy() == 6


def test_a_slow_response_is_a_failure(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cloud.RESPONSE_SECONDS == 60
    monkeypatch.setattr(cloud, "RESPONSE_SECONDS", 0.2)
    desk.server.gate.clear()
    assert desk.deploy() == 6
    assert "TimeoutError" in desk.error


def test_an_unreachable_target_is_a_failure(desk: Desk) -> None:
    desk.configure(endpoint="http://127.0.0.1:1")
    assert desk.deploy() == 6


# --- bearers ---


@pytest.mark.parametrize("status", [401, 403])
def test_denied_access_has_its_own_exit_status(desk: Desk, status: int) -> None:
    desk.server.status = status
    assert desk.deploy() == 5
    assert "secret" not in desk.error


@pytest.mark.parametrize("credential", ["other", "oauth-client:ci", "oauth-client:a/b", "oauth-session:me"])
def test_without_a_bearer_nothing_is_sent(desk: Desk, credential: str) -> None:
    desk.configure(credential=credential)
    assert desk.deploy() == 5
    assert desk.server.requests == []


TOKEN = {"access_token": "from-issuer", "token_type": "Bearer", "expires_in": 300}


@pytest.fixture
def issuer(desk: Desk) -> Iterator[ScriptedServer]:
    with scripted_server() as made:
        made.status, made.body = 200, json.dumps(TOKEN).encode()
        desk.configure(credential="oauth-client:ci")
        prefix = "TPF_OAUTH_CI_"
        desk.variables = {f"{prefix}ISSUER": f"http://{made.host}", f"{prefix}CLIENT_ID": "id"}
        desk.variables[f"{prefix}CLIENT_SECRET"] = "client secret"
        yield made


def test_an_oauth_client_gets_its_bearer_from_the_issuer(desk: Desk, issuer: ScriptedServer) -> None:
    assert desk.deploy() == 0
    [request] = issuer.requests
    assert request.target == "/oauth2/token"
    assert parse_qs(request.body.decode()) == {
        "grant_type": ["client_credentials"],
        "client_id": ["id"],
        "client_secret": ["client secret"],
        "scope": ["tpf:deploy"],
    }
    assert desk.server.requests[0].headers["Authorization"] == "Bearer from-issuer"


@pytest.mark.parametrize(
    ("status", "change"),
    [
        (401, {}),
        (302, {}),
        (200, {"access_token": ""}),
        (200, {"token_type": "mac"}),
        (200, {"expires_in": 0}),
        (200, {"expires_in": None}),
    ],
)
def test_an_unusable_token_is_not_sent(desk: Desk, issuer: ScriptedServer, status: int, change: dict[str, Any]) -> None:
    issuer.status, issuer.body = status, json.dumps({**TOKEN, **change}).encode()
    assert desk.deploy() == 5
    assert desk.server.requests == []


@pytest.mark.parametrize("url", ["http://issuer.example", "https://issuer.example/realm", "https://a@issuer.example"])
def test_an_issuer_is_an_origin_with_tls(desk: Desk, issuer: ScriptedServer, url: str) -> None:
    desk.variables["TPF_OAUTH_CI_ISSUER"] = url
    assert desk.deploy() == 5
    assert "origin" in desk.error


# --- command line and configuration ---


@pytest.mark.parametrize("arguments", [[], ["deploy"], ["deploy", "staging"], ["deploy", "staging", "--what"]])
def test_a_wrong_command_line_has_its_own_exit_status(arguments: list[str]) -> None:
    assert main(arguments, {}) == 2


@pytest.mark.parametrize(
    "change",
    [{"type": "local-process"}, {"mode": "MANAGED"}, {"organization": " "}, {"endpoint": "ftp://a"}, {"more": "x"}],
)
def test_a_wrong_target_has_its_own_exit_status(desk: Desk, change: dict[str, Any]) -> None:
    desk.configure(**change)
    assert desk.deploy() == 2
    assert desk.server.requests == []


def test_a_wrong_configuration_has_its_own_exit_status(desk: Desk) -> None:
    assert desk.deploy("unknown") == 2
    wrongs: list[Any] = [{"resolverProfiles": {}}, {"resolverProfiles": {"a": {"more": 1}}, "environments": {}}, []]
    for wrong in wrongs:
        desk.write(wrong)
        assert desk.deploy() == 2
    (desk.folder / "deploy.json").unlink()
    assert desk.deploy() == 2


# --- artifacts ---


def test_a_release_is_verified_without_its_target(desk: Desk) -> None:
    assert desk.verify() == 0
    result = json.loads(desk.capture.readouterr().out)
    assert (result["operation"], result["status"], result["artifactCount"]) == ("release.verify", "VERIFIED", 1)
    assert desk.server.requests == []


def test_artifacts_that_cannot_be_resolved_have_their_own_exit_status(desk: Desk) -> None:
    desk.configure({"file": False})
    assert desk.verify() == 4
    desk.configure()
    (desk.folder / "app.jar").write_bytes(b"changed")
    assert desk.deploy() == 4
    (desk.folder / "app.jar").unlink()
    assert desk.deploy() == 4
    assert desk.server.requests == []


def test_maven_artifacts_come_from_the_first_repository_that_has_them(desk: Desk) -> None:
    data = archive(contract())
    desk.describe(descriptor(artifact(data, "maven:org.example:app:zip:all:1.0+1", kind="application-archive")))
    path = "org/example/app/1.0+1/app-1.0+1-all.zip"
    local, repositories = desk.folder / "local", [f"http://{desk.server.host}/maven/"]
    desk.configure({"maven": {"localRepository": str(local), "repositories": repositories}})
    assert desk.verify() == 4
    desk.server.files[f"/maven/{path}"] = data
    assert desk.verify() == 0
    stored(local / path, b"another file")
    assert desk.verify() == 4
    stored(local / path, data)
    assert desk.verify() == 0


def test_images_come_from_a_real_registry(desk: Desk) -> None:
    truth = stored(desk.folder / "truth.zip", archive(contract()), artifactId="truth", kind="compiled-truth")
    truth |= {"stepIds": [], "capabilities": []}
    with docker_registry(desk.folder, requires_password=True) as registry:
        digest = registry.push_image("acme/app", OCI_INDEX)
        uri = f"oci://{registry.reference('acme/app', digest)}"
        image = artifact(b"", uri, artifactId="image", kind="container-image", digest=digest)
        desk.describe(descriptor(truth, image))
        desk.configure({"oci": {"insecureRegistries": [registry.host], "credentials": {registry.host: "images"}}})
        assert desk.verify() == 4
        desk.variables |= {"TPF_CREDENTIAL_IMAGES_USERNAME": USER, "TPF_CREDENTIAL_IMAGES_PASSWORD": PASSWORD}
        assert desk.deploy() == 0
        desk.describe(descriptor(truth, {**image, "uri": uri.replace(digest, OTHER), "digest": OTHER}))
        assert desk.verify() == 4


# --- releases ---


def test_a_bad_release_has_its_own_exit_status(desk: Desk) -> None:
    desk.describe(descriptor(artifact(b"", "app.jar")))
    assert desk.deploy() == 3
    desk.describe(descriptor(stored(desk.folder / "app.jar", archive(None))))
    assert desk.deploy() == 3
    (desk.folder / "release.json").unlink()
    assert desk.deploy() == 3
    assert desk.server.requests == []


def test_other_bytes_under_the_same_identity_conflict(desk: Desk) -> None:
    """Rule 7. The server decides; other bytes have another key."""
    assert desk.deploy() == 0
    document = (desk.folder / "release.json").read_bytes()
    (desk.folder / "release.json").write_bytes(document + b" ")
    desk.server.status = 409
    assert desk.deploy() == 6
    first, second = (request.headers["Idempotency-Key"] for request in desk.server.requests)
    assert first != second
