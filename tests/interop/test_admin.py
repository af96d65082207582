"""`/tpf/admin`: releases from files, activation, workers, re-drive (wire protocol A.3, A.6, B.2, B.3)."""

import json
import os
import time
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from executions.models import Execution, Worker, WorkerEvent
from executions.workers.eligibility import CHECK_TASK
from pipelines.release.descriptor import release
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.interop.client import call, ok, refused, switch_on
from tests.wakeups import Broker, broker, names
from wire.messages.limits import LONGEST_WORKER_ID

__all__ = ["broker"]

pytestmark = pytest.mark.django_db
PIPELINE = making.PIPELINE


@pytest.fixture
def root(tmp_path: Path, settings: Any) -> Path:
    switch_on(settings)
    folder = tmp_path / "releases"
    folder.mkdir()
    settings.TPF_RELEASE_ROOTS = [folder]
    return folder


@pytest.fixture
def owner() -> Tenant:
    return making.tenant()


def base(owner: Tenant) -> str:
    return f"admin/tenants/{owner.slug}/pipelines/{PIPELINE}"


def written(root: Path, version: str = "sha256:abc", kind: str = "jar", uri: str = "", **more: Any) -> Path:
    """A descriptor in a file, with its artifact beside it."""
    contract = making.contract()
    data = making.archive(contract, code=version)
    jar = root / "app.jar"
    jar.write_bytes(data)
    document = making.descriptor(contract, data, version, kind)
    document["artifacts"][0]["uri"] = uri or jar.as_uri()
    document.update(more)
    path = root / "pipeline-release.json"
    path.write_text(json.dumps(document))
    return path


def register(owner: Tenant, path: Path | str) -> Any:
    return call("POST", f"{base(owner)}/releases/register", {"releaseDescriptorPath": str(path)})


# --- registration ---------------------------------------------------------------------------------


def test_a_registration_has_the_workers_of_the_release_checked(root: Path, owner: Tenant, broker: Broker) -> None:
    assert CHECK_TASK in names(broker.after(lambda: register(owner, written(root))))


def test_a_release_is_registered_from_its_files_and_again_as_it_is(root: Path, owner: Tenant) -> None:
    path = written(root)
    answer = register(owner, path)
    assert answer.status_code == 200, answer.content
    record = answer.json()
    assert list(record) == [
        "tenantId", "pipelineId", "contractVersion", "releaseVersion", "status", "descriptor", "primaryArtifactId",
        "primaryArtifactDigest", "primaryArtifactUri", "primaryArtifactSizeBytes", "primaryArtifactChecksum",
        "contract", "createdAtEpochMs", "updatedAtEpochMs", "activatedAtEpochMs",
    ]  # fmt: skip
    digest = making.digest_of((root / "app.jar").read_bytes())
    assert (record["status"], record["activatedAtEpochMs"]) == ("REGISTERED", 0)
    assert record["primaryArtifactDigest"] == record["primaryArtifactChecksum"] == digest
    assert record["primaryArtifactSizeBytes"] == (root / "app.jar").stat().st_size
    copy = Path(record["primaryArtifactUri"].removeprefix("file://"))
    assert copy.read_bytes() == (root / "app.jar").read_bytes()
    assert record["contract"]["contractVersion"] == record["contractVersion"]
    assert record["descriptor"]["artifacts"][0]["stepIds"] == []
    assert register(owner, path).json() == record
    assert Release.objects.filter(pipeline__tenant=owner).count() == 1


def test_other_metadata_under_the_same_version_is_a_conflict(root: Path, owner: Tenant) -> None:
    register(owner, written(root))
    moved = root / "moved.jar"
    moved.write_bytes((root / "app.jar").read_bytes())
    path = written(root, uri=str(moved))
    assert refused(register(owner, path)) == (409, "Release version is already registered with different metadata")


@pytest.mark.parametrize(
    "uri", ["app.jar", "file:{root}/app.jar", "file:///{root}/app.jar", "{root}/app.jar", "s3://b/k"]
)
def test_the_forms_of_an_artifacts_address(
    root: Path, owner: Tenant, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    status, text = 200, ""
    answer = register(owner, written(root, uri=uri.format(root=str(root))))
    if uri.startswith("s3"):
        status, text = 400, "Release JAR artifact must point to a readable local file"
    assert answer.status_code == status, answer.content
    assert not text or answer.content.decode() == text


def test_what_is_kept_elsewhere_is_an_identity_alone(root: Path, owner: Tenant) -> None:
    path = written(root, kind="container-image", uri="registry.example/app@sha256:1")
    record = register(owner, path).json()
    assert (record["primaryArtifactUri"], record["primaryArtifactSizeBytes"], record["contract"]) == ("", 0, None)
    assert record["primaryArtifactChecksum"] == ""


def bad_digest(document: dict[str, Any]) -> None:
    document["artifacts"][0]["digest"] = "sha256:" + "0" * 64


CHANGES: list[tuple[Any, str]] = [
    (lambda d: d.update(scope="x"), "Invalid pipeline release descriptor JSON: "),
    (
        lambda d: d.update(schemaVersion=2),
        "Invalid pipeline release descriptor JSON: Unsupported pipeline release schemaVersion 2",
    ),
    (lambda d: d.update(pipelineId="org.other"), "Release descriptor pipelineId does not match request path"),
    (lambda d: d.update(contractVersion=" "), "contractVersion is required"),
    (lambda d: d.update(releaseVersion=""), "releaseVersion is required"),
    (lambda d: d.update(artifacts=[]), "Release descriptor must contain at least one artifact"),
    (lambda d: d["artifacts"][0].update(artifactId=""), "artifactId is required"),
    (lambda d: d["artifacts"][0].update(kind="war"), "Unsupported release artifact kind war"),
    (lambda d: d["artifacts"][0].update(digest="md5:1"), "Release artifact digest must use sha256:<hex>"),
    (
        lambda d: d["artifacts"][0].update(uri="/no/such.jar"),
        "Release JAR artifact must point to a readable local file",
    ),
    (
        lambda d: d["artifacts"][0].update(uri="/no/such", kind="local-file"),
        "Release local artifact must point to a readable file",
    ),
    (bad_digest, "Release artifact digest does not match local file checksum"),
    (
        lambda d: d.update(contractVersion="sha256:other"),
        "Release artifact contractVersion does not match release descriptor",
    ),
]


@pytest.mark.parametrize(("change", "text"), CHANGES)
def test_what_is_wrong_with_a_descriptor_is_told_and_leaves_nothing(
    root: Path, owner: Tenant, change: Any, text: str
) -> None:
    path = written(root)
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    status, told = refused(register(owner, path))
    assert status == 400
    assert told == text or (text.endswith(": ") and told.startswith(text)), told
    assert ok("GET", f"{base(owner)}/releases") == []
    assert not Release.objects.filter(pipeline__tenant=owner).exists()


def test_a_jar_without_a_contract_is_refused(root: Path, owner: Tenant) -> None:
    path = written(root)
    (root / "app.jar").write_bytes(b"no zip")
    document = json.loads(path.read_text())
    document["artifacts"][0]["digest"] = making.digest_of(b"no zip")
    path.write_text(json.dumps(document))
    text = "Release JAR artifact is missing META-INF/pipeline/pipeline-contract.json"
    assert refused(register(owner, path)) == (400, text)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (None, "releaseDescriptorPath is required"),
        ({}, "releaseDescriptorPath is required"),
        ({"releaseDescriptorPath": "  "}, "releaseDescriptorPath is required"),
        ({"releaseDescriptorPath": "a/b.json", "unknown": 1}, "releaseDescriptorPath must be absolute"),
        ({"releaseDescriptorPath": "/no/such/file"}, "releaseDescriptorPath must point to a readable file"),
        (b"{", "Invalid request"),
        (b'["x"]', "Invalid request"),
        ({"releaseDescriptorPath": 7}, ""),
    ],
)
def test_a_request_without_a_usable_path_is_refused(root: Path, owner: Tenant, body: Any, text: str) -> None:
    assert refused(call("POST", f"{base(owner)}/releases/register", body)) == (400, text)


def test_only_files_below_the_configured_folders_are_opened(
    root: Path, owner: Tenant, tmp_path: Path, settings: Any
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    unreadable = (400, "releaseDescriptorPath must point to a readable file")
    assert refused(register(owner, written(outside))) == unreadable
    (root / "link.json").symlink_to(outside / "pipeline-release.json")
    assert refused(register(owner, root / "link.json")) == unreadable
    (root / "folder").symlink_to(outside)
    assert refused(register(owner, root / "folder" / "pipeline-release.json")) == unreadable
    assert refused(register(owner, f"{root}/../outside/pipeline-release.json")) == unreadable
    assert refused(register(owner, root)) == unreadable
    assert refused(register(owner, "/etc/passwd")) == unreadable
    for uri in (f"{outside}/app.jar", f"{root}/folder/app.jar", f"{root}/../outside/app.jar"):
        path = written(root, uri=uri)
        told = (400, "Release JAR artifact must point to a readable local file")
        assert refused(register(owner, path)) == told, uri
    settings.TPF_RELEASE_ROOTS = []
    assert refused(register(owner, written(root))) == unreadable


def test_a_root_that_is_a_link_itself_is_followed(root: Path, owner: Tenant, tmp_path: Path, settings: Any) -> None:
    link = tmp_path / "link"
    link.symlink_to(root)
    settings.TPF_RELEASE_ROOTS = [link]
    assert register(owner, written(root)).status_code == 200


def test_a_pipe_in_the_place_of_a_file_makes_nobody_wait(root: Path, owner: Tenant) -> None:
    pipe = root / "pipe.json"
    os.mkfifo(pipe)
    writer = Timer(5, lambda: os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)))  # ends a wait for a writer
    writer.start()
    began = time.monotonic()
    assert register(owner, pipe).status_code == 400
    writer.cancel()
    assert time.monotonic() - began < 5


def test_what_an_author_releases_is_registered_as_it_is(root: Path, owner: Tenant) -> None:
    """Its descriptor names the artifact by its file name, and may have been moved with it."""
    contract = making.contract()
    folder = root / "orders"
    folder.mkdir()
    (folder / f"{PIPELINE}.zip").write_bytes(making.archive(contract))
    written_release = release(folder)
    moved = folder.rename(root / "moved")
    answer = register(owner, moved / written_release.path.name)
    assert answer.status_code == 200, answer.content
    assert answer.json()["releaseVersion"] == written_release.document["releaseVersion"]


def test_a_file_name_does_not_lead_out_of_the_roots(root: Path, owner: Tenant, tmp_path: Path) -> None:
    path = written(root, uri="../app.jar")
    (root / "app.jar").rename(tmp_path / "app.jar")
    assert refused(register(owner, path)) == (400, "Release JAR artifact must point to a readable local file")


# --- reading and activation -----------------------------------------------------------------------


def test_activation_moves_on_and_back(root: Path, owner: Tenant) -> None:
    assert refused(call("GET", f"{base(owner)}/releases/active")) == (404, "")
    for version in ("sha256:one", "sha256:two"):
        assert register(owner, written(root, version)).status_code == 200
    assert refused(call("POST", f"{base(owner)}/releases/sha256:three/activate")) == (404, "")
    first = ok("POST", f"{base(owner)}/releases/sha256:one/activate")
    assert (first["status"], first["releaseVersion"]) == ("ACTIVE", "sha256:one")
    assert first["activatedAtEpochMs"] == first["updatedAtEpochMs"] > 0
    assert ok("GET", f"{base(owner)}/releases/active") == first
    ok("POST", f"{base(owner)}/releases/sha256:two/activate")
    listed = ok("GET", f"{base(owner)}/releases")
    assert [(each["releaseVersion"], each["status"]) for each in listed] == [
        ("sha256:one", "REGISTERED"),
        ("sha256:two", "ACTIVE"),
    ]
    assert [each["activatedAtEpochMs"] > 0 for each in listed] == [False, True]
    back = ok("POST", f"{base(owner)}/releases/sha256:one/activate")
    assert back["status"] == "ACTIVE"
    one = ok("GET", f"{base(owner)}/releases/sha256:one")
    assert (one["status"], one["activatedAtEpochMs"]) == ("ACTIVE", back["activatedAtEpochMs"])
    assert refused(call("GET", f"{base(owner)}/releases/sha256:none")) == (404, "")
    assert ok("GET", f"{base(owner)}/releases/sha256%3Aone") == one


def test_a_release_whose_bytes_are_gone_is_not_activated(root: Path, owner: Tenant) -> None:
    record = register(owner, written(root)).json()
    Path(record["primaryArtifactUri"].removeprefix("file://")).unlink()
    status, text = refused(call("POST", f"{base(owner)}/releases/sha256:abc/activate"))
    assert (status, "not in the artifact store" in text) == (409, True)


# --- workers --------------------------------------------------------------------------------------

WORKER = {"workerId": "w-1", "contractVersion": "c", "releaseVersion": "sha256:r", "protocol": " REST "}


def test_a_worker_is_registered_beats_drains_and_comes_back(root: Path, owner: Tenant, settings: Any) -> None:
    made = ok("POST", f"{base(owner)}/workers/register", {**WORKER, "endpoint": "http://w:1 ", "more": 1})
    moment = made.pop("registeredAtEpochMs")
    assert made.pop("lastHeartbeatAtEpochMs") == moment
    assert made == {
        "tenantId": owner.slug,
        "pipelineId": PIPELINE,
        "contractVersion": "c",
        "releaseVersion": "sha256:r",
        "workerId": "w-1",
        "protocol": "rest",
        "endpoint": "http://w:1",
        "artifactId": "",
        "artifactDigest": "",
        "state": "HEALTHY",
        "drainingSinceEpochMs": 0,
    }
    making.silence(Worker.objects.get(worker_id="w-1"))
    assert [each["state"] for each in ok("GET", f"{base(owner)}/workers")] == ["STALE"]
    settings.REST_WORKER_STALE_SECONDS = 0
    assert ok("POST", f"{base(owner)}/workers/w-1/heartbeat")["state"] == "HEALTHY"
    assert Worker.objects.get(worker_id="w-1").alive_until is None
    settings.REST_WORKER_STALE_SECONDS = 120
    assert ok("POST", f"{base(owner)}/workers/w-1/heartbeat")["state"] == "HEALTHY"
    drained = ok("POST", f"{base(owner)}/workers/w-1/drain")
    assert (drained["state"], drained["drainingSinceEpochMs"] > 0) == ("DRAINING", True)
    beaten = ok("POST", f"{base(owner)}/workers/w-1/heartbeat")
    assert (beaten["state"], beaten["drainingSinceEpochMs"]) == ("DRAINING", drained["drainingSinceEpochMs"])
    assert ok("POST", f"{base(owner)}/workers/register", WORKER)["state"] == "HEALTHY"
    causes = WorkerEvent.objects.filter(worker__worker_id="w-1", worker__tenant=owner).order_by("id")
    assert [event.data["cause"] for event in causes] == ["REGISTERED", "OPERATOR_DRAINED", "REGISTERED"]


def test_a_worker_beyond_the_limit_is_not_registered(root: Path, owner: Tenant, settings: Any) -> None:
    settings.MAX_TENANT_WORKERS = 1
    ok("POST", f"{base(owner)}/workers/register", WORKER)
    ok("POST", f"{base(owner)}/workers/register", WORKER)
    status, told = refused(call("POST", f"{base(owner)}/workers/register", {**WORKER, "workerId": "w-2"}))
    assert status == 409
    assert told.startswith("WORKER_LIMIT_REACHED")


def test_workers_are_listed_by_what_they_host(root: Path, owner: Tenant) -> None:
    for number, version in enumerate(("sha256:r", "sha256:r", "sha256:q")):
        body = {**WORKER, "workerId": f"w-{number}", "releaseVersion": version}
        ok("POST", f"{base(owner)}/workers/register", body)

    def ids(query: str) -> list[str]:
        return [each["workerId"] for each in ok("GET", f"{base(owner)}/workers{query}")]

    assert ids("?releaseVersion=sha256:r&contractVersion=%20") == ["w-0", "w-1"]
    assert ids("?contractVersion=c") == ["w-0", "w-1", "w-2"]
    assert ids("?contractVersion=d") == []
    assert refused(call("POST", f"{base(owner)}/workers/nobody/heartbeat")) == (404, "")
    assert refused(call("POST", f"{base(owner)}/workers/nobody/drain")) == (404, "")


@pytest.mark.parametrize("name", ["workerId", "contractVersion", "releaseVersion", "protocol"])
@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_worker_says_who_it_is_and_what_it_hosts(root: Path, owner: Tenant, name: str, value: Any) -> None:
    answer = call("POST", f"{base(owner)}/workers/register", {**WORKER, name: value})
    assert refused(answer) == (400, f"{name} is required")


def test_the_length_of_a_worker_id_is_limited(root: Path, owner: Tenant) -> None:
    longest = "w" * LONGEST_WORKER_ID
    assert ok("POST", f"{base(owner)}/workers/register", {**WORKER, "workerId": longest})["workerId"] == longest
    status, text = refused(call("POST", f"{base(owner)}/workers/register", {**WORKER, "workerId": f"{longest}w"}))
    assert (status, "workerId" in text) == (400, True)


def test_a_worker_registers_with_a_body(root: Path, owner: Tenant) -> None:
    assert refused(call("POST", f"{base(owner)}/workers/register")) == (400, "request is required")
    assert refused(call("POST", f"{base(owner)}/workers/register", b"null")) == (400, "request is required")


# --- re-drive -------------------------------------------------------------------------------------


def test_a_dead_execution_is_driven_again(root: Path) -> None:
    owner, _ = making.ready()
    [spent] = making.dead(owner, "spent")
    path = f"admin/tenants/{owner.slug}/executions"
    version = spent.version
    told = f"Execution {spent.pk} version mismatch: expected 99 but current version is {version}"
    assert refused(call("POST", f"{path}/{spent.pk}/redrive", {"expectedVersion": 99})) == (409, told)
    before: dict[str, Any] = {**Execution.objects.values().get(pk=spent.pk)}
    made = ok("POST", f"{path}/{spent.pk}/redrive", {"expectedVersion": version, "reason": "x" * 200})
    after: dict[str, Any] = {**Execution.objects.values().get(pk=spent.pk)}
    # Status, errors and what counts or tells of the move; input, step, progress, pin and key stay.
    may_change = {"next_due_at", "updated_at"}  # both are the time of the transaction
    assert {name for name in before if before[name] != after[name]} - may_change == {
        *("status", "version", "attempt", "budget_start", "error_code", "error_message", "finished_at"),
        *("last_transition_key", "event_count"),
    }
    assert (after["error_code"], after["error_message"], after["lease_token"]) == (None, None, None)
    assert made.pop("updatedAtEpochMs") > 0
    assert made == {
        "tenantId": owner.slug,
        "executionId": str(spent.pk),
        "previousStatus": "DLQ",
        "status": "QUEUED",
        "version": version + 1,
        "currentStepIndex": 0,
        "attempt": 1,
        "pipelineId": PIPELINE,
        "contractVersion": spent.contract_version,
        "releaseVersion": "1.0",
    }
    assert len(spent.events.get(kind="REDRIVEN").data["reason"]) == 80
    told = f"Execution {spent.pk} cannot be re-driven from status QUEUED"
    assert refused(call("POST", f"{path}/{spent.pk}/redrive")) == (409, told)


def test_what_no_retry_can_help_is_driven_again_only_when_that_is_said(root: Path) -> None:
    owner, _ = making.ready()
    [failed] = making.dead(owner, "failed", retryable=False)
    path = f"admin/tenants/{owner.slug}/executions/{failed.pk}/redrive"
    told = f"Execution {failed.pk} cannot be re-driven from status FAILED"
    assert refused(call("POST", path, {"allowFailed": False, "expectedVersion": 99})) == (409, told)
    assert ok("POST", path, {"allowFailed": True})["previousStatus"] == "FAILED"


@pytest.mark.parametrize(
    "body", [{"expectedVersion": "1"}, {"expectedVersion": True}, {"allowFailed": "yes"}, {"reason": 1}]
)
def test_an_order_of_the_wrong_form_is_refused(root: Path, body: Any) -> None:
    owner, _ = making.ready()
    [spent] = making.dead(owner, "spent")
    assert call("POST", f"admin/tenants/{owner.slug}/executions/{spent.pk}/redrive", body).status_code == 400


@pytest.mark.parametrize("unknown", ["nonsense", "00000000-0000-0000-0000-000000000000"])
def test_an_unknown_execution_is_not_found(root: Path, owner: Tenant, unknown: str) -> None:
    answer = call("POST", f"admin/tenants/{owner.slug}/executions/{unknown}/redrive")
    assert refused(answer) == (404, f"Execution not found: {unknown}")
