import json
from pathlib import Path
from typing import Any

import pytest

from executions.models import Execution
from executions.workers.eligibility import CHECK_TASK
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.transports.rest.order_flow import PIPELINE, hosted
from tests.executions.transports.rest.strict_worker import CONTRACT_STEPS
from tests.interop.client import NO_WORKER, base, ok, refused, register, submit, written
from tests.releases.registration.located import artifact
from tests.wakeups import Broker, broker, names
from wire.documents.contract import contract_from_json
from wire.release.content import known_capabilities
from wire.release.verification import OTHER_DIGEST

__all__ = ["broker"]

pytestmark = pytest.mark.django_db


def test_registering_a_release_again_returns_it_unchanged(root: Path, owner: Tenant, broker: Broker) -> None:
    path = written(root)
    answers: list[Any] = []
    assert CHECK_TASK in names(broker.after(lambda: answers.append(register(owner, path))))
    [answer] = answers
    assert answer.status_code == 200, answer.content
    record = answer.json()
    digest = making.digest_of((root / "app.jar").read_bytes())
    assert (record["status"], record["activatedAtEpochMs"]) == ("REGISTERED", 0)
    assert record["primaryArtifactDigest"] == record["primaryArtifactChecksum"] == digest
    assert record["primaryArtifactSizeBytes"] == (root / "app.jar").stat().st_size
    copy = Path(record["primaryArtifactUri"].removeprefix("file://"))
    assert copy.read_bytes() == (root / "app.jar").read_bytes()
    assert register(owner, path).json() == record
    assert Release.objects.filter(pipeline__tenant=owner).count() == 1


SHAPE = "Invalid pipeline release descriptor JSON: "
NO_JAR = "Release JAR artifact must point to a readable local file"
NO_FILE = "Release local artifact must point to a readable file"
OCTOBER: dict[str, Any] = {"compiledTruthArtifactId": "app"}
NO_KIND = "Unsupported release artifact kind"
OCTOBER_DIGEST = "Release artifact digest must use sha256:<64 lowercase hex>"
INVALID: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"scope": "x"}, {}, f'{SHAPE}Unrecognized field "scope"'),
    ({"pipelineId": "org.other"}, {}, "Release descriptor pipelineId does not match request path"),
    ({}, {"digest": "md5:1"}, "Release artifact digest must use sha256:<hex>"),
    ({}, {"digest": " "}, "digest is required"),
    ({}, {"digest": None}, f"{SHAPE}digest is required"),
    ({}, {"digest": "sha256:0a"}, OTHER_DIGEST),
    ({}, {"digest": "sha256:" + "A" * 64}, OTHER_DIGEST),
    ({}, {"kind": "wheel"}, f"{NO_KIND} wheel"),
    *((OCTOBER, {"kind": kind}, f"{NO_KIND} {kind}") for kind in ("local-file", "external-endpoint")),
    *((OCTOBER, {"digest": f"sha256:{hexadecimal}"}, OCTOBER_DIGEST) for hexadecimal in ("0a", "A" * 64)),
    ({}, {"uri": "/no/such.jar"}, NO_JAR),
    (OCTOBER, {"uri": "file:///no/such.jar"}, NO_JAR),
    (OCTOBER, {"uri": "file:///no/such", "kind": "compiled-truth"}, NO_FILE),
    ({}, {"digest": "sha256:" + "0" * 64}, OTHER_DIGEST),
    ({"contractVersion": "c"}, {}, "Release artifact contractVersion does not match release descriptor"),
]


def test_a_quota_refuses_a_release_with_its_reason(root: Path, owner: Tenant) -> None:
    Tenant.objects.update(quota_storage_bytes=1)
    assert "storageBytes" in dict([refused(register(owner, written(root)))])[409]


@cases(("members", "artifact", "text"), INVALID)
def test_an_invalid_descriptor_is_reported_and_leaves_no_rows(
    root: Path, owner: Tenant, members: dict[str, Any], artifact: dict[str, Any], text: str
) -> None:
    path = written(root)
    document = json.loads(path.read_text())
    document["artifacts"][0].update(artifact)
    path.write_text(json.dumps({**document, **members}))
    assert refused(register(owner, path)) == (400, text)
    assert ok("GET", f"{base(owner)}/releases") == []
    assert not Release.objects.filter(pipeline__tenant=owner).exists()


def test_only_files_in_configured_folders_are_read(root: Path, owner: Tenant, tmp_path: Path, settings: Any) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    unreadable = (400, "releaseDescriptorPath must point to a readable file")
    assert refused(register(owner, written(outside))) == unreadable
    assert refused(register(owner, "pipeline-release.json")) == (400, "releaseDescriptorPath must be absolute")
    (root / "link.json").symlink_to(outside / "pipeline-release.json")
    assert refused(register(owner, root / "link.json")) == unreadable
    (root / "folder").symlink_to(outside)
    assert refused(register(owner, root / "folder" / "pipeline-release.json")) == unreadable
    assert refused(register(owner, f"{root}/../outside/pipeline-release.json")) == unreadable
    elsewhere = f"file://elsewhere{root}/app.jar"
    for uri in (f"{outside}/app.jar", f"{root}/folder/app.jar", f"{root}/../outside/app.jar", elsewhere):
        path = written(root, uri=uri)
        assert refused(register(owner, path)) == (400, NO_JAR), uri
    settings.TPF_RELEASE_ROOTS = []
    assert refused(register(owner, written(root))) == unreadable


CONTRACT = making.contract(PIPELINE, CONTRACT_STEPS, transport="REST")
PIN = {"contractVersion": CONTRACT["contractVersion"], "releaseVersion": "1.0"}
CAPABILITIES = known_capabilities(contract_from_json(CONTRACT))
STEPS = [str(step["authoredName"]) for step in CONTRACT_STEPS]
BUNDLE, OTHER = making.archive(None, app="all steps"), making.archive(None, app="the other steps")


def release(root: Path, bundled: list[str]) -> Path:
    """Write a release whose bundle has the `bundled` steps, and another archive the rest. Return its descriptor."""
    rest = [name for name in STEPS if name not in bundled]
    archives = {"truth": (making.archive(CONTRACT), []), "bundle": (BUNDLE, bundled), "other": (OTHER, rest)}
    artifacts = []
    for name, (data, steps) in archives.items():
        path = root / f"{name}.zip"
        path.write_bytes(data)
        kind = "application-archive" if steps else "compiled-truth"
        members = {"kind": kind, "uri": path.as_uri(), "stepIds": steps}
        artifacts.append(artifact(data, name, **members, capabilities=CAPABILITIES if steps else []))
    document = {"schemaVersion": 1, "pipelineId": PIPELINE, **PIN, "compiledTruthArtifactId": "truth"}
    (root / "release.json").write_text(json.dumps({**document, "artifacts": artifacts if rest else artifacts[:2]}))
    return root / "release.json"


@cases(
    ("steps", "names", "status"),
    [
        (STEPS, ("bundle", BUNDLE), 200),
        (STEPS[:2], ("bundle", BUNDLE), 200),
        (STEPS, ("bundle", b"no artifact"), 503),
        (STEPS, ("truth", BUNDLE), 503),
    ],
)
def test_a_worker_gets_work_if_it_names_the_bundle_wherever_the_contract_and_other_steps_are(
    root: Path, owner: Tenant, serve: Any, settings: Any, steps: list[str], names: tuple[str, bytes], status: int
) -> None:
    base = f"admin/tenants/{owner.slug}/pipelines/{PIPELINE}"
    record = ok("POST", f"{base}/releases/register", {"releaseDescriptorPath": str(release(root, steps))})
    assert record["primaryArtifactId"] == "truth"
    ok("POST", f"{base}/releases/1.0/activate")
    flow = hosted(making.release_of(owner, "1.0"), serve, settings)
    flow.double.capabilities = {"artifactId": names[0], "artifactDigest": making.digest_of(names[1])}
    worker = {"workerId": "java-1", "protocol": "rest", "endpoint": flow.double.endpoint}
    ok("POST", f"{base}/workers/register", {**worker, **PIN, **flow.double.capabilities})
    flow.check()
    answer = submit(owner)
    assert (answer.status_code, answer.content.decode().startswith(NO_WORKER)) == (status, status == 503)
    if status == 200:
        assert flow.advance(Execution.objects.get(tenant=owner)).status == "WAITING_EXTERNAL"
