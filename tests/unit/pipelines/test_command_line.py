"""The commands as an author runs them."""

import argparse
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines import DefinitionError
from pipelines.cli import main
from pipelines.release.connection import Target, target_of
from tests.cases import cases
from tests.unit.pipelines.conftest import Author
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
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def project(author: Author, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder, with the pipeline flow:pipeline."""
    author.write("flow.py", FLOW)
    monkeypatch.chdir(author.folder)
    terminate = signal.getsignal(signal.SIGTERM)
    yield author.folder
    signal.signal(signal.SIGTERM, terminate)  # a worker replaces it


@pytest.fixture
def command(project: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command. Returns its status and what it printed to stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        try:
            status = main(list(arguments), program="python -m pipelines")
        except SystemExit as end:
            status = int(str(end.code))
        return status, *capsys.readouterr()

    return run


def test_build_and_release_print_what_they_wrote(project: Path, command: Command) -> None:
    status, printed, errors = command("build", "flow:pipeline")
    assert (status, errors) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in printed.splitlines())
    assert lines["pipelineId"] == "org.acme.double"
    assert lines["path"] == "dist/org.acme.double.zip"
    status, printed, errors = command("release")
    assert (status, errors) == (0, "")
    document = json.loads((project / "dist/pipeline-release.json").read_bytes())
    assert document["releaseVersion"] == lines["digest"]
    assert lines["digest"] in printed

    options = ("dist/org.acme.double.zip", "--release-version", "v7", "--json")
    released = json.loads(command("release", *options)[1])
    assert (released["releaseVersion"], released["artifacts"]) == ("v7", ["org.acme.double.zip"])


WORKER = ["worker", "--tenant=acme", "--release=r.json"]
BROKER = "--broker-url=redis://127.0.0.1:1/0"


@cases(
    ("arguments", "code"),
    [
        (["build", "flow"], "INVALID_REFERENCE"),
        (["release"], "NO_ARTIFACT"),
        (["release", "--maven=org.acme:double:zip:1.0"], "WRONG_PROFILE"),
        # Options that would weaken TLS.
        ([*WORKER, "--broker-url=rediss://h:1/0?ssl_cert_reqs=none"], "INVALID_BROKER_URL"),
        ([*WORKER, "--broker-url=redis://h:1/0", "--broker-ca-file=flow.py"], "INVALID_BROKER_URL"),
        ([*WORKER, "--broker-url=sentinels://h:1/0"], "INVALID_BROKER_URL"),
        ([*WORKER, "--broker-url=rediss://h:1/0", "--broker-ca-file=flow.py"], "INVALID_CA_FILE"),
        *(
            ([*WORKER, BROKER, f"--worker-id={name}"], "INVALID_WORKER_ID")
            for name in ("host/1", "a\u200bb", "w" * (LONGEST_WORKER_ID + 1))
        ),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    command: Command, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: str
) -> None:
    monkeypatch.setenv("PIPELINES_WORKER_KEY", worker_key("a secret", "acme").text)
    status, printed, errors = command(*arguments)
    assert (status, printed) == (2, "")
    assert errors.startswith(f"error: {code}: ")
    assert len(errors.splitlines()) == 1


def test_the_token_comes_from_a_file_or_the_environment(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = argparse.Namespace(url="https://c.example", tenant="acme", token_file=None)
    monkeypatch.delenv("PIPELINES_TOKEN", raising=False)
    with pytest.raises(DefinitionError, match=r"MISSING_OPTION: .*--token"):
        target_of(options)
    monkeypatch.setenv("PIPELINES_TOKEN", "dc_environment")
    assert target_of(options) == Target("https://c.example", "acme", "dc_environment")
    options.token_file = project / "token"
    options.token_file.write_text("dc_file\n")
    assert target_of(options).token == "dc_file"
    options.url = None
    with pytest.raises(DefinitionError, match=r"MISSING_OPTION: .*--url"):
        target_of(options)
