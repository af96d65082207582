"""The double of the framework's client and `pipelines verify-release` agree about releases, rule by rule.

The double shares no code with the product. Both read the same files.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from embedded.product import PROJECT
from pipelines.release.maven_repositories import Repositories
from pipelines.release.verify_release import Verification, verify
from tests.parts.clients.tpf_client import closure
from tests.parts.clients.tpf_client.closure import ResolverProfile
from tests.parts.clients.tpf_client.descriptor import parse
from tests.parts.clients.tpf_client.failures import BadRelease, Unresolved
from tests.parts.clients.tpf_client.made import (
    FileServer,
    archive,
    artifact,
    contract,
    descriptor,
    digest_of,
    file_server,
    stored,
)
from wire.documents.contract import publish
from wire.findings import Severity

OTHER = digest_of(b"other")
MANIFEST = b'{"schemaVersion": 2}'
UNRESOLVED = "unresolved"
NOTHING: dict[str, Any] = {"stepIds": [], "capabilities": []}


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder with releases, a Maven repository, and an image registry."""

    path: Path
    registry: FileServer

    def contract(self, **changes: Any) -> dict[str, Any]:
        return publish(contract(**changes))

    def app(self, entries: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
        """Store an archive with the contract, and return it as an artifact with all steps and capabilities."""
        return {**stored(self.path / "app.jar", archive(self.contract(), **entries or {})), **changes}

    def other(self, data: bytes, **changes: Any) -> dict[str, Any]:
        return stored(self.path / "other.zip", data, **{"artifactId": "other", **NOTHING, **changes})

    def image(self, **changes: Any) -> dict[str, Any]:
        digest = digest_of(MANIFEST)
        self.registry.files[f"/v2/acme/app/manifests/{digest}"] = MANIFEST
        image = {"artifactId": "image", "kind": "container-image", "digest": digest, **NOTHING}
        return {**artifact(b"", f"oci://{self.registry.host}/acme/app@{digest}"), **image, **changes}

    def in_maven(self, coordinates: str, path: str, **changes: Any) -> dict[str, Any]:
        data = archive(self.contract())
        stored(self.path / "maven" / path, data)
        return artifact(data, f"maven:{coordinates}", **changes)

    def describe(self, *artifacts: dict[str, Any], **changes: Any) -> bytes:
        version = self.contract()["contractVersion"]
        return json.dumps(descriptor(*artifacts, **{"contractVersion": version, **changes})).encode()

    def theirs(self, data: bytes) -> str:
        """Return the rule that the double says is broken, empty for none."""
        try:
            closure.verify(parse(data), ResolverProfile(((self.path / "maven").as_uri(),)))
        except BadRelease as error:
            return str(error).partition(":")[0]
        except Unresolved:
            return UNRESOLVED
        return ""

    def ours(self, data: bytes) -> Verification:
        file = self.path / "pipeline-release.json"
        file.write_bytes(data)
        return verify(file, repositories=Repositories((str(self.path / "maven"),)))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    (tmp_path / "maven").mkdir()
    with file_server() as registry:
        yield Folder(tmp_path, registry)


def errors(verified: Verification) -> set[str]:
    return {finding.code for finding in verified.findings if finding.severity is Severity.ERROR}


GOOD: dict[str, Callable[[Folder], bytes]] = {
    "a JAR": lambda at: at.describe(at.app()),
    "an archive": lambda at: at.describe(at.app(kind="application-archive")),
    "steps in two artifacts": lambda at: at.describe(
        at.app(stepIds=["Pay"], capabilities=["rest"]),
        at.other(archive(None, code="x"), stepIds=["Validate"], capabilities=["local"]),
    ),
    "a carrier without steps": lambda at: at.describe(
        at.app(kind="compiled-truth", **NOTHING),
        at.other(b"\x7fELF", kind="native-binary", stepIds=["Validate", "Pay"], capabilities=["local", "rest"]),
    ),
    "a copy of the contract": lambda at: at.describe(at.app(), at.other(archive(at.contract(), code="x"))),
    "an image": lambda at: at.describe(at.app(), at.image()),
    "all steps in an image": lambda at: at.describe(
        at.app(kind="compiled-truth", **NOTHING),
        at.image(stepIds=["Validate", "Pay"], capabilities=["local", "rest"]),
    ),
    "in a Maven repository": lambda at: at.describe(
        at.in_maven("org.acme:app:zip:all:1.0+1", "org/acme/app/1.0+1/app-1.0+1-all.zip", kind="lambda-zip")
    ),
    "a snapshot": lambda at: at.describe(at.in_maven("a.b:c:1-SNAPSHOT", "a/b/c/1-SNAPSHOT/c-1-SNAPSHOT.jar")),
}

BAD: list[tuple[str, str, Callable[[Folder], bytes]]] = [
    ("rule 1", "COMPILED_TRUTH_UNKNOWN", lambda at: at.describe(at.app(), compiledTruthArtifactId="gone")),
    ("rule 1", "COMPILED_TRUTH_WRONG_KIND", lambda at: at.describe(at.app(kind="native-binary"))),
    ("rule 1", "COMPILED_TRUTH_MISSING", lambda at: at.describe(stored(at.path / "app.jar", archive(None)))),
    (
        "rule 1",
        "COMPILED_TRUTH_OTHER_ENTRIES",
        lambda at: at.describe(
            at.app({"code": "x"}, kind="compiled-truth", **NOTHING),
            at.image(stepIds=["Validate", "Pay"], capabilities=["local", "rest"]),
        ),
    ),
    ("rule 1", "ARTIFACT_CONTRACT_VERSION_MISMATCH", lambda at: at.describe(at.app(), contractVersion=OTHER)),
    ("rule 2", "ARTIFACT_URI_WRONG_SCHEME", lambda at: at.describe(at.app(), at.image(uri="file:///image"))),
    ("rule 2", "ARTIFACT_URI_OTHER_DIGEST", lambda at: at.describe(at.app(), at.image(digest=OTHER))),
    ("rule 2", "ARTIFACT_URI_SCHEME_UNSUPPORTED", lambda at: at.describe(at.app(uri="https://a.example/app.jar"))),
    ("rule 3", "ARTIFACT_URI_NOT_CANONICAL", lambda at: at.describe(at.app(uri="file:///a/../app.jar"))),
    ("rule 4", "ARTIFACT_URI_MALFORMED", lambda at: at.describe(at.app(uri="maven:a..b:c:1.0"))),
    ("rule 5", "STEP_NOT_PLACED", lambda at: at.describe(at.app(stepIds=["Pay"]))),
    ("rule 5", "STEP_UNKNOWN", lambda at: at.describe(at.app(stepIds=["Validate", "Pay", "Ship"]))),
    ("rule 5", "STEP_PLACED_TWICE", lambda at: at.describe(at.app(), at.image(stepIds=["Pay"]))),
    ("rule 6", "CAPABILITY_NOT_COVERED", lambda at: at.describe(at.app(capabilities=["local"]))),
    ("rule 6", "CAPABILITY_UNKNOWN", lambda at: at.describe(at.app(capabilities=["local", "rest", "grpc"]))),
    ("members", "DESCRIPTOR_UNKNOWN_MEMBER", lambda at: at.describe(at.app(), more=1)),
    ("members", "ARTIFACT_ID_REPEATED", lambda at: at.describe(at.app(), at.app())),
    ("members", "ARTIFACT_DIGEST_MALFORMED", lambda at: at.describe(at.app(digest=OTHER.upper()))),
    ("members", "COMPILED_TRUTH_ASSOCIATED", lambda at: at.describe(at.app(kind="compiled-truth"))),
    (UNRESOLVED, "ARTIFACT_DIGEST_MISMATCH", lambda at: at.describe(at.app(digest=OTHER))),
    (UNRESOLVED, "ARTIFACT_FILE_MISSING", lambda at: at.describe(at.app(uri="maven:a:b:1"))),
]


@pytest.mark.parametrize("name", GOOD)
def test_both_accept_a_release_that_follows_the_rules(folder: Folder, name: str) -> None:
    data = GOOD[name](folder)
    assert folder.theirs(data) == ""
    verified = folder.ours(data)
    assert (verified.exit_status, errors(verified)) == (0, set())
    assert verified.is_promotable is parse(data).promotable


@pytest.mark.parametrize(("rule", "code", "made"), BAD)
def test_both_refuse_a_release_that_breaks_a_rule(
    folder: Folder, rule: str, code: str, made: Callable[[Folder], bytes]
) -> None:
    data = made(folder)
    assert folder.theirs(data) == rule
    verified = folder.ours(data)
    assert errors(verified) == {code}
    assert verified.exit_status == (4 if rule == UNRESOLVED else 3)


FLOW = """
from pipelines import Pipeline

pipeline = Pipeline("org.acme.double", checkpoint=True)


@pipeline.step
def double(n: int) -> int:
    return 2 * n
"""


def test_both_accept_what_release_writes(folder: Folder) -> None:
    """With files of this machine and with a Maven repository."""
    (folder.path / "flow.py").write_text(FLOW)
    release = ["release", "--profile", "tpf-2026-10"]
    run(folder, "build", "flow:pipeline")
    run(folder, *release)
    written = folder.path / "dist" / "pipeline-release.json"
    assert folder.theirs(written.read_bytes()) == ""
    run(folder, "verify-release", written)

    run(folder, *release, "--maven", "org.acme:double:zip:1.0", "--image", folder.image()["uri"])
    assert folder.theirs(written.read_bytes()) == UNRESOLVED
    published = written.with_name("org.acme.double.zip").read_bytes()
    stored(folder.path / "maven/org/acme/double/1.0/double-1.0.zip", published)
    assert folder.theirs(written.read_bytes()) == ""
    run(folder, "verify-release", written, "--maven", "maven", "--promotable")


def run(folder: Folder, *arguments: str | Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", *arguments],
        cwd=folder.path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
