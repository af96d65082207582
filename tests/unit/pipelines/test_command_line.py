import argparse
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from coordinator_client.api import Connection
from pipelines import DefinitionError
from pipelines.cli import main
from pipelines.release.publish import client_of
from pipelines.worker import options as worker_options
from tests import making
from tests.cases import cases
from tests.raising import error_of
from tests.receiving import Receiver, serving
from tests.unit.pipelines.conftest import Author
from tests.unit.pipelines.test_local_commands import pipelines
from tests.unit.wire.comparison.releases import catalogue, field, record
from wire.messages.celery_messages import LONGEST_WORKER_ID
from wire.worker_keys import worker_key

FLOW = """
from pipelines import Pipeline

pipeline = Pipeline("org.acme.double")

@pipeline.step
def double(n: int) -> int:
    return 2 * n
"""
Command = Callable[..., tuple[int, str, str]]
WORKER = ["worker", "--tenant=acme", "--release=r.json"]
BROKER = "--broker-url=redis://127.0.0.1:1/0"
ACTIVATE = ("activate", "org.acme.orders", "2.0")
REFUSAL = {"code": "WORKER_REQUIRED", "detail": "No worker may run release '2.0'."}
MADE = {"sequence": 7, "releaseVersion": "2.0", "previousReleaseVersion": "1.0", "kind": "activation", "reason": "why"}
KEY = worker_key("a secret", "acme")


@pytest.fixture
def project(author: Author, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    author.write("flow.py", FLOW)
    monkeypatch.chdir(author.folder)
    terminate = signal.getsignal(signal.SIGTERM)
    yield author.folder
    signal.signal(signal.SIGTERM, terminate)  # a worker replaces it


@pytest.fixture
def command(project: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: str | Path) -> tuple[int, str, str]:
        try:
            status = main([*map(str, arguments)], program="python -m pipelines")
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
    folder = project / "dist" / lines["digest"].replace(":", "-")
    assert json.loads((folder / "pipeline-release.json").read_bytes())["releaseVersion"] == lines["digest"]
    assert lines["digest"] in printed

    options = ("dist/org.acme.double.zip", "--release-version", "v7", "--json")
    released = json.loads(command("release", *options)[1])
    assert (released["releaseVersion"], released["artifacts"]) == ("v7", ["org.acme.double.zip"])
    status, printed, errors = command("release", "flow:pipeline", "--release-version", "v8", "--json")
    assert (status, errors, json.loads(printed)["path"]) == (0, "", "dist/v8/pipeline-release.json")
    [artifact] = (project / "dist/v8").glob("*.zip")
    assert artifact.read_bytes() == (project / "dist/org.acme.double.zip").read_bytes()
    assert not list((project / "dist").glob(".*"))


@cases(
    ("arguments", "code"),
    [
        (["build", "flow.zip:pipeline!"], "INVALID_REFERENCE"),
        (["release"], "NO_ARTIFACT"),
        (["release", "flow:pipeline", "other:pipeline"], "MIXED_ARTIFACTS"),
        (["release", "--lock=uv.lock"], "MISSING_OPTION"),
        (["worker"], "MISSING_OPTION"),
        (["worker", "dist/1.0", "--release=dist/2.0"], "MISSING_OPTION"),
        ([*WORKER, BROKER], "NO_RELEASE"),
        (["worker", "--tenant=acme", "org.acme.double@1.0", BROKER], "MISSING_OPTION"),
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
    monkeypatch.setenv("PIPELINES_WORKER_KEY", KEY.text)
    status, printed, errors = command(*arguments)
    assert (status, printed) == (2, "")
    assert errors.startswith(f"error: {code}: ")
    assert len(errors.splitlines()) == 1


def test_the_token_comes_from_a_file_or_the_environment(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No token is sent to the URL of the old names but theirs."""
    options = argparse.Namespace(url="https://c.example/", tenant=None, token_file=None)
    with pytest.raises(DefinitionError, match=r"MISSING_OPTION: set --tenant .*, --token"):
        client_of(options)
    monkeypatch.setenv("COORDINATOR_TENANT", "acme")
    for name, token in (("COORDINATOR_TOKEN", "dc_environment"), ("PIPELINES_TOKEN", "dc_old")):
        monkeypatch.setenv(name, token)
        assert client_of(options).connection == Connection("https://c.example", "acme", token)
    options.token_file = project / "token"
    options.token_file.write_text("dc_file\n")
    assert client_of(options).connection.token == "dc_file"
    options.url, options.token_file, options.tenant = None, None, "acme"
    with pytest.raises(DefinitionError, match=r"MISSING_OPTION: .*--url"):
        client_of(options)
    monkeypatch.delenv("PIPELINES_TOKEN")
    monkeypatch.setenv("PIPELINES_URL", "https://old.example")
    with pytest.raises(DefinitionError, match=r"MISSING_OPTION: .*--token"):
        client_of(options)


def test_development_replaces_no_release_of_another_machine(project: Path) -> None:
    def dev(**others: str) -> tuple[int, str, str]:
        variables = {"PIPELINES_BROKER_URL": "redis://b", "PIPELINES_WORKER_KEY": "k"}
        return pipelines(project, "dev", "flow.py", **variables, **others)

    status, _, errors = dev(COORDINATOR_URL="http://127.0.0.1:1")
    missing = "error: MISSING_OPTION: there is no COORDINATOR_TENANT, COORDINATOR_TOKEN; "
    assert (status, errors[: len(missing)]) == (2, missing)
    file = project / ".coordinator" / "coordinator.env"
    file.parent.mkdir()
    file.touch(0o600)
    with serving({"items": [], "activeReleaseVersion": "2.0"}) as elsewhere:
        url = elsewhere.url("127.1", path="")  # a name that does not say that it is this machine
        file.write_text(f"export COORDINATOR_URL={url} COORDINATOR_TENANT='acme'\nCOORDINATOR_TOKEN=dc_t # it\n")
        status, out, errors = dev()
    assert (status, out.splitlines()[0]) == (2, f"coordinator {url}, tenant acme, as .coordinator/coordinator.env says")
    assert f"error: NOT_FOR_DEVELOPMENT: release 2.0 of org.acme.double is active at {url}, and" in errors
    assert [request.method for request in elsewhere.requests] == ["GET"] * 3


@pytest.fixture
def coordinator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with serving(MADE, status=201, headers={"Content-Type": "application/json"}) as made:
        monkeypatch.setenv("PIPELINES_TOKEN", "dc_token")
        monkeypatch.setenv("PIPELINES_URL", made.origin)
        monkeypatch.setenv("PIPELINES_TENANT", "acme")
        yield made


def test_an_activation_sends_the_reason_and_the_expected_release(coordinator: Receiver, command: Command) -> None:
    status, out, err = command(*ACTIVATE, "--reason", "why", "--expected", "1.0")
    assert (status, err) == (0, "")
    assert "#7" in out
    [request] = coordinator.requests
    assert (request.method, request.path) == ("POST", "/api/v1/tenants/acme/pipelines/org.acme.orders/activations")
    body = json.loads(request.body)
    assert len(body.pop("operationKey")) == 32
    assert body == {"releaseVersion": "2.0", "reason": "why", "expectedReleaseVersion": "1.0"}
    for named in (ACTIVATE, ("activate", "org.acme.orders@2.0")):
        assert json.loads(command(*named, "--json")[1]) == MADE
    assert {json.loads(request.body)["releaseVersion"] for request in coordinator.requests} == {"2.0"}


def test_a_refusal_and_a_mistake_have_different_exit_statuses(coordinator: Receiver, command: Command) -> None:
    coordinator.bodies = [json.dumps(REFUSAL).encode()]
    for answer, status in ((409, 3), (422, 3), (403, 2), (503, 2)):
        coordinator.statuses = [answer]
        error = f"error: COORDINATOR_REFUSED: {answer} WORKER_REQUIRED: No worker may run release '2.0'.\n"
        assert command(*ACTIVATE) == (status, "", error)


def written(folder: Path, version: str = "1.0", *fields: dict[str, Any], **entries: str) -> Path:
    folder.mkdir()
    contract = making.contract(canonicalTypes=catalogue(Order=record(field("id"), *fields)))
    data = making.archive(contract, **entries)
    (folder / "app.zip").write_bytes(data)
    (folder / "pipeline-release.json").write_text(json.dumps(making.descriptor(contract, data, version)))
    return folder


def test_a_diff_names_each_difference_with_its_impact(command: Command, tmp_path: Path) -> None:
    old, new = written(tmp_path / "old"), written(tmp_path / "new", "2.0", field("price", "decimal"))
    status, out, err = command("diff", old, new)
    assert (status, err) == (1, "")
    assert out.startswith('breaking-for-callers: added steps["Validate"].input.price: none -> decimal. ')
    document = json.loads(command("diff", old, new, "--json")[1])
    assert (document["breaking"], document["fromReleaseVersion"], document["toReleaseVersion"]) == (True, "1.0", "2.0")
    first = document["differences"][0]
    assert (first["impact"], first["path"]) == ("breaking-for-callers", 'steps["Validate"].input.price')
    assert command("diff", old / "pipeline-release.json", old) == (0, "no differences\n", "")
    status, out, _ = command("diff", old, written(tmp_path / "other", "1.1", code="x = 1"))
    assert (status, out.startswith('compatible: changed artifacts["app"].digest: sha256:')) == (0, True)
    (new / "app.zip").write_bytes((old / "app.zip").read_bytes())
    assert command("diff", old, new)[1].startswith("unknown: changed contract: ")


def test_the_key_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY.text}\n")
    assert worker_options.worker_key(file) == KEY
    monkeypatch.setenv("PIPELINES_WORKER_KEY", KEY.text)
    assert worker_options.worker_key(None) == KEY
    monkeypatch.setenv("PIPELINES_WORKER_KEY", KEY.text[:-1])
    says = str(error_of(DefinitionError, worker_options.worker_key, None))
    assert "MALFORMED_WORKER_KEY" in says
    assert KEY.text[:-1] not in says


@cases("secret", ["x" * 15, "env:REST_WORKER_SECRET", "file:/run/secrets/key"])
def test_a_rest_worker_refuses_a_short_secret_and_a_reference(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    monkeypatch.setenv("PIPELINES_WORKER_KEY", "x" * 16)
    assert worker_options.rest_secret(None) == "x" * 16
    monkeypatch.setenv("PIPELINES_WORKER_KEY", secret)
    with pytest.raises(DefinitionError, match="MALFORMED_WORKER_KEY"):
        worker_options.rest_secret(None)
