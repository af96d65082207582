"""The commands of the CI templates, with a Maven repository and a coordinator that small HTTP servers replace."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.unit.pipelines.small_servers import Quiet, SmallServer, serving

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


class Server(SmallServer):
    """Stores what is PUT, returns it, and accepts releases."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.authorizations: dict[str, set[str]] = {}
        self.releases: list[bytes] = []
        own = self

        class Handler(Quiet, BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                own.files[self.path] = self.body()
                self.answer(201, b"")

            def do_POST(self) -> None:
                own.releases.append(self.body())
                self.answer(202, b"{}")

            def do_GET(self) -> None:
                if self.path.startswith("/maven/"):
                    self.answer(200 if self.path in own.files else 404, own.files.get(self.path, b""))
                    return
                release = {"pipelineId": "org.acme.orders", "contractVersion": "c", "releaseVersion": "1.4.0"}
                trust = {"policy": "off", "standing": "UNSIGNED"}
                release |= {"status": "REGISTERED", "findings": [], "trust": trust}  # type: ignore[dict-item]
                self.answer(200, json.dumps(release).encode())

            def body(self) -> bytes:
                return self.rfile.read(int(self.headers["Content-Length"]))

            def answer(self, status: int, body: bytes) -> None:
                surface = self.path.split("/")[1]
                own.authorizations.setdefault(surface, set()).add(self.headers.get("Authorization", ""))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.listen(Handler)


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
    [release] = server.releases
    assert (tmp_path / "dist/pipeline-release.json").read_bytes() in release
    assert server.authorizations == {"maven": {"Basic Y2k6c2VjcmV0"}, "api": {"Bearer dc_secret"}}
