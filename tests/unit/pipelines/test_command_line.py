"""The commands as an author runs them."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

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


@pytest.mark.parametrize(
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


@pytest.mark.parametrize(
    ("url", "ca_file", "says"),
    [
        ("rediss://h:1/0?ssl_cert_reqs=none", "", "INVALID_BROKER_URL"),
        ("redis://h:1/0", "flow.py", "INVALID_BROKER_URL"),
        ("rediss://h:1/0", "flow.py", "INVALID_CA_FILE"),
        ("rediss://h:1/0", "nowhere.pem", "INVALID_CA_FILE"),
    ],
)
def test_broker_options_that_would_weaken_tls_are_refused(project: Path, url: str, ca_file: str, says: str) -> None:
    options = [f"--broker-url={url}", f"--broker-ca-file={ca_file}", "--tenant=acme", "--release=r.json"]
    done = command(project, "worker", *options, PIPELINES_WORKER_KEY="key")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {says}: ")


@pytest.mark.parametrize(
    "arguments", [[], ["biuld"], ["build"], ["worker"], ["worker", "flow:pipeline", "--release=r.json"]]
)
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


@pytest.mark.parametrize("worker_id", ["host/1", " host", "host ", ".", "a\u200bb", "w" * (LONGEST_WORKER_ID + 1)])
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
