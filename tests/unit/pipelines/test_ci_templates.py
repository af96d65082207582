"""The commands of the CI templates, with a Maven repository and a coordinator that small HTTP servers replace."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.pipelines.small_servers import Recorder, Request, Response, serving

REPOSITORY = Path(__file__).resolve().parents[3]
TEMPLATES = ["github.yml", "gitlab.yml"]
COMMAND = re.compile(r"^ +- (?:run: )?((?:pipelines|printf) .*)$", re.MULTILINE)
FLOW = """
from pipelines import Pipeline

pipeline = Pipeline("org.acme.orders")


@pipeline.step
def double(n: int) -> int:
    return 2 * n
"""


class Server(Recorder):
    """Stores what is PUT, returns it, and accepts releases."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, bytes] = {}

    def respond(self, request: Request) -> Response:
        if request.method == "PUT":
            self.files[request.path] = request.body
            return Response(201)
        if request.method == "POST":
            return Response(202, b"{}")
        if request.path.startswith("/maven/"):
            return Response(200 if request.path in self.files else 404, self.files.get(request.path, b""))
        release: dict[str, Any] = {"pipelineId": "org.acme.orders", "contractVersion": "c", "releaseVersion": "1.4.0"}
        trust = {"policy": "off", "standing": "UNSIGNED"}
        release |= {"status": "REGISTERED", "findings": [], "trust": trust}
        return Response(200, json.dumps(release).encode())


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    with serving(made):
        yield made


def commands(template: str) -> list[str]:
    return COMMAND.findall((REPOSITORY / "examples/ci" / template).read_text())


def test_both_templates_are_short_hold_no_secret_and_run_the_same_commands() -> None:
    for template in TEMPLATES:
        text = (REPOSITORY / "examples/ci" / template).read_text()
        assert len(text.splitlines()) < 40
        assert "--token" not in text
        assert "\t" not in text
    github, gitlab = map(commands, TEMPLATES)
    assert github == gitlab
    assert [command.split()[:2] for command in github if command.startswith("pipelines")] == [
        ["pipelines", "build"],
        ["pipelines", "release"],
        ["pipelines", "verify-release"],
        ["pipelines", "publish"],
    ]


def test_the_commands_release_and_publish_a_pipeline(server: Server, tmp_path: Path) -> None:
    (tmp_path / "acme_orders.py").write_text(FLOW)
    (tmp_path / "requirements.txt").write_text("durable-pipelines==0.1.0\n")
    environment = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(REPOSITORY),
        "VERSION": "1.4.0",
        "MAVEN_URL": f"{server.url}/maven",
        "PIPELINES_MAVEN_CREDENTIALS": "ci:secret",
        "PIPELINES_URL": server.url,
        "PIPELINES_TENANT": "acme",
        "PIPELINES_TOKEN": "dc_secret",
    }
    for command in commands("github.yml"):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, ""), command
        assert "secret" not in done.stdout
    artifact = (tmp_path / "dist/org.acme.orders.zip").read_bytes()
    assert server.files == {"/maven/org/acme/orders/1.4.0/orders-1.4.0.zip": artifact}
    [release] = [request.body for request in server.requests if request.method == "POST"]
    assert (tmp_path / "dist/pipeline-release.json").read_bytes() in release
    authorizations = {(request.path.split("/")[1], request.authorization) for request in server.requests}
    assert authorizations == {("maven", "Basic Y2k6c2VjcmV0"), ("api", "Bearer dc_secret")}
