"""The commands as an author runs them."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.cases import cases
from tests.parts.clients.tpf_cli.scripted import scripted_server
from tests.unit.pipelines.small_servers import Quiet, SmallServer, serving
from wire.documents.contract import LOCK_ENTRY
from wire.messages.limits import LONGEST_WORKER_ID
from wire.worker_keys import worker_key

REPOSITORY = Path(__file__).resolve().parents[3]
FLOW = """
from pipelines import Pipeline

pipeline = Pipeline("org.acme.double")

@pipeline.step
def double(n: int) -> int:
    return 2 * n
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "flow.py").write_text(FLOW)
    return tmp_path


def command(project: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), **environment}
    return subprocess.run(
        [sys.executable, "-m", "pipelines", *arguments],
        cwd=project,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_build_and_release_print_what_they_wrote(project: Path) -> None:
    built = command(project, "build", "flow:pipeline")
    assert (built.returncode, built.stderr) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in built.stdout.splitlines())
    assert lines["pipelineId"] == "org.acme.double"
    assert lines["contractVersion"].startswith("sha256:")
    assert lines["path"] == "dist/org.acme.double.zip"
    released = command(project, "release")
    assert (released.returncode, released.stderr) == (0, "")
    document = json.loads((project / "dist/pipeline-release.json").read_bytes())
    assert document["releaseVersion"] == lines["digest"]
    assert lines["digest"] in released.stdout


def test_the_commands_print_json(project: Path) -> None:
    built = json.loads(command(project, "build", "flow:pipeline", "--out", "made", "--json").stdout)
    assert set(built) == {"pipelineId", "contractVersion", "steps", "digest", "size", "path"}
    released = json.loads(
        command(project, "release", built["path"], "--out", "made", "--release-version", "v7", "--json").stdout
    )
    assert released["releaseVersion"] == "v7"
    assert released["artifacts"] == ["org.acme.double.zip"]


@cases(
    ("arguments", "says"),
    [
        (["build", "flow"], "error: INVALID_REFERENCE: "),
        (["build", "flow:missing"], "error: NAME_NOT_FOUND: "),
        (["build", "nowhere:pipeline"], "error: MODULE_NOT_FOUND: "),
        (["release"], "error: NO_ARTIFACT: "),
        (["release", "flow.py"], "error: NOT_AN_ARTIFACT: "),
    ],
)
def test_a_mistake_is_one_line_and_status_2(project: Path, arguments: list[str], says: str) -> None:
    done = command(project, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(says)
    assert len(done.stderr.splitlines()) == 1


@cases(
    ("url", "ca_file", "says"),
    [
        ("rediss://h:1/0?ssl_cert_reqs=none", "", "INVALID_BROKER_URL"),
        ("redis://h:1/0", "flow.py", "INVALID_BROKER_URL"),
        ("sentinel://h:1/broker/0", "flow.py", "INVALID_BROKER_URL"),
        ("sentinels://h:1/0", "", "INVALID_BROKER_URL"),
        ("sentinels://h:1/broker/0", "flow.py", "INVALID_CA_FILE"),
        ("rediss://h:1/0", "flow.py", "INVALID_CA_FILE"),
        ("rediss://h:1/0", "nowhere.pem", "INVALID_CA_FILE"),
    ],
)
def test_broker_options_that_would_weaken_tls_are_refused(project: Path, url: str, ca_file: str, says: str) -> None:
    options = [f"--broker-url={url}", f"--broker-ca-file={ca_file}", "--tenant=acme", "--release=r.json"]
    done = command(project, "worker", *options, PIPELINES_WORKER_KEY="key")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {says}: ")


@cases("arguments", [[], ["biuld"], ["build"], ["worker"], ["worker", "flow:pipeline", "--release=r.json"]])
def test_a_wrong_command_shows_its_usage(project: Path, arguments: list[str]) -> None:
    done = command(project, *arguments)
    assert done.returncode == 2
    assert "usage: python -m pipelines" in done.stderr


def test_a_lock_is_packed_and_an_unusable_one_is_one_line(project: Path) -> None:
    (project / "locked.txt").write_text("durable-pipelines==0.1\nalpha==1.0  # a comment\n")
    done = command(project, "build", "flow:pipeline", "--lock", "locked.txt", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    with zipfile.ZipFile(project / json.loads(done.stdout)["path"]) as archive:
        assert archive.read(LOCK_ENTRY) == b"alpha==1.0\ndurable-pipelines==0.1\n"
    (project / "locked.txt").write_text("alpha==1.0\nbeta>=2\n")
    done = command(project, "build", "flow:pipeline", "--lock", "locked.txt")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: INVALID_LOCK: locked.txt, line 2: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_lock_without_durable_pipelines_is_packed_with_a_warning(project: Path) -> None:
    (project / "locked.txt").write_text("alpha==1.0\n")
    done = command(project, "build", "flow:pipeline", "--lock", "locked.txt")
    assert done.returncode == 0
    assert done.stderr.startswith("warning: the lock does not name durable-pipelines")


def test_the_options_of_a_worker_are_shown_without_loading_the_compiler(project: Path) -> None:
    watch = (
        "import sys; from pipelines.cli import main\n"
        "try: main(['worker', '--help'])\n"
        "except SystemExit: print({'pydantic', 'packaging', 'celery', 'requests'} & {*sys.modules})"
    )
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", watch], cwd=project, env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "set()"


def test_build_loads_neither_a_web_framework_nor_a_broker(project: Path) -> None:
    watch = (
        "import sys; sys.path.insert(0, '.'); from pipelines.cli import main; "
        "code = main(['build', 'flow:pipeline', '--json']); "
        "print([name for name in ('django', 'celery', 'kombu', 'psycopg', 'boto3') if name in sys.modules], code)"
    )
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", watch], cwd=project, env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[] 0"


@cases("worker_id", ["host/1", " host", "host ", ".", "a\u200bb", "w" * (LONGEST_WORKER_ID + 1)])
def test_a_worker_does_not_start_with_an_id_that_no_coordinator_accepts(project: Path, worker_id: str) -> None:
    refused = command(
        project,
        "worker",
        "--release=pipeline-release.json",
        "--tenant=acme",
        "--broker-url=redis://127.0.0.1:1/0",
        f"--worker-id={worker_id}",
        PIPELINES_WORKER_KEY=worker_key("a secret", "acme").text,
    )
    assert refused.returncode == 2
    assert "INVALID_WORKER_ID" in refused.stderr


def newer(project: Path, *options: str) -> Path:
    """Build and release the pipeline with the profile tpf-2026-10. Return its descriptor."""
    assert command(project, "build", "flow:pipeline").returncode == 0
    done = command(project, "release", "--profile=tpf-2026-10", "--release-version=1.0", *options)
    assert (done.returncode, done.stderr) == (0, "")
    return project / "dist/pipeline-release.json"


def test_verify_release_explains_what_it_verified(project: Path) -> None:
    image = f"oci://registry.example/app@sha256:{'1' * 64}"
    descriptor = newer(project, f"--image={image}")
    done = command(project, "verify-release", "dist/pipeline-release.json")
    assert done.returncode == 0
    artifact = (project / "dist/org.acme.double.zip").resolve()
    assert done.stdout.splitlines() == [
        "profile          tpf-2026-10",
        f"descriptorDigest sha256:{hashlib.sha256(descriptor.read_bytes()).hexdigest()}",
        "pipelineId       org.acme.double",
        f"contractVersion  {json.loads(descriptor.read_bytes())['contractVersion']}",
        "releaseVersion   1.0",
        "promotable       no",
        f"artifact         org.acme.double-artifact (application-archive): digest ok, {artifact}",
        f"artifact         image-1 (container-image): not checked, {image}",
        "status           VERIFIED",
    ]
    [warning] = done.stderr.splitlines()
    assert warning.startswith("warning: ARTIFACT_NOT_PROMOTABLE: pipeline-release.json#artifacts[0].uri: ")


def test_verify_release_prints_one_json_object(project: Path) -> None:
    newer(project)
    done = command(project, "verify-release", "dist/pipeline-release.json", "--json", "--promotable")
    assert (done.returncode, done.stderr) == (3, "")
    document = json.loads(done.stdout)
    assert (document["operation"], document["status"]) == ("release.verify", "REJECTED")
    assert [finding["code"] for finding in document["findings"]] == ["ARTIFACT_NOT_PROMOTABLE"]
    assert set(document["artifacts"][0]) == {"artifactId", "kind", "uri", "digest", "status", "foundAt"}


def test_the_exit_status_of_verify_release_is_the_class_of_the_problem(project: Path) -> None:
    descriptor = newer(project, "--maven=org.acme:double:zip:1.0")
    verify = ("verify-release", "dist/pipeline-release.json")
    with scripted_server() as repository:
        url = f"http://{repository.host}/maven"
        assert command(project, *verify, "--maven", url).returncode == 4
        repository.files["/maven/org/acme/double/1.0/double-1.0.zip"] = b"other"
        assert command(project, *verify, "--maven", url).returncode == 4
        artifact = (project / "dist/org.acme.double.zip").read_bytes()
        repository.files["/maven/org/acme/double/1.0/double-1.0.zip"] = artifact
        assert command(project, *verify, "--maven", url, "--promotable").returncode == 0
    assert command(project, *verify, "--maven", "nowhere").returncode == 2
    assert command(project, *verify, "--artifact", "nowhere").returncode == 2
    assert command(project, "verify-release", "nowhere").returncode == 2
    assert command(project, "verify-release").returncode == 2
    descriptor.write_text(descriptor.read_text().replace('"Double"', '"Triple"'))
    assert command(project, *verify).returncode == 3


def test_credentials_of_a_repository_come_from_the_environment_and_are_not_shown(project: Path) -> None:
    newer(project, "--maven=org.acme:double:zip:1.0")
    verify = ("verify-release", "dist/pipeline-release.json", "--maven")
    authorization = f"Basic {base64.b64encode(b'ci:secret').decode()}"
    with denying_server(authorization) as url:
        assert command(project, *verify, url).returncode == 5
        assert command(project, *verify, url, PIPELINES_MAVEN_CREDENTIALS="ci:wrong").returncode == 5
        allowed = command(project, *verify, url, PIPELINES_MAVEN_CREDENTIALS="ci:secret")
        assert allowed.returncode == 4
    assert "secret" not in allowed.stdout + allowed.stderr
    clear = command(project, *verify, "http://repo.example", PIPELINES_MAVEN_CREDENTIALS="ci:secret")
    assert clear.returncode == 2
    assert clear.stderr.startswith("error: INVALID_REPOSITORY_CREDENTIALS: ")


@contextmanager
def denying_server(authorization: str) -> Iterator[str]:
    """Serve nothing, and deny access without this authorization."""

    class Handler(Quiet, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404 if self.headers.get("Authorization") == authorization else 401)
            self.end_headers()

    server = SmallServer()
    server.listen(Handler)
    with serving(server):
        yield server.url


def test_options_of_the_newer_profile_need_it(project: Path) -> None:
    command(project, "build", "flow:pipeline")
    done = command(project, "release", "--maven=org.acme:double:zip:1.0")
    assert (done.returncode, done.stderr.splitlines()) == (
        2,
        ["error: WRONG_PROFILE: --carrier, --maven and --image need --profile tpf-2026-10"],
    )
    assert command(project, "release", "--profile=tpf-2027-01").returncode == 2
