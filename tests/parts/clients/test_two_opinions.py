"""The double of the framework's command line and `pipelines verify-release` agree about releases, rule by rule.

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
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipelines.release.maven_repositories import Repositories
from pipelines.release.verify_release import Verification, verify
from tests.parts.clients.tpf_cli import __main__ as tpf
from tests.parts.clients.tpf_cli import closure
from tests.parts.clients.tpf_cli.configuration import ResolverProfile
from tests.parts.clients.tpf_cli.descriptor import locate, parse
from tests.parts.clients.tpf_cli.failures import BadRelease, Unresolved
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
from wire.documents.artifact_uri import ArtifactUriError, parse_artifact_uri
from wire.documents.contract import publish
from wire.findings import Severity

REPOSITORY = Path(__file__).resolve().parents[3]
OTHER = digest_of(b"other")
MANIFEST = b'{"schemaVersion": 2}'
UNRESOLVED = "unresolved"
NOTHING: dict[str, Any] = {"stepIds": [], "capabilities": []}


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder with releases, a Maven repository, and an image registry."""

    path: Path
    registry: ScriptedServer

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
        profile = ResolverProfile(
            maven=((self.path / "maven").as_uri(),), oci={}, insecure_registries=frozenset({self.registry.host})
        )
        try:
            closure.verify(parse(data), profile, {})
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
    with scripted_server() as registry:
        yield Folder(tmp_path, registry)


def errors(verified: Verification) -> set[str]:
    return {finding.code for finding in verified.findings if finding.severity is Severity.ERROR}


def with_steps(folder: Folder, *names: str, hosted: list[str]) -> bytes:
    """Return the descriptor of a JAR whose contract has steps with these names. It hosts some of them."""
    made = folder.contract(steps=[{"index": index, "authoredName": name} for index, name in enumerate(names)])
    jar = stored(folder.path / "app.jar", archive(made), stepIds=hosted)
    return folder.describe(jar, contractVersion=made["contractVersion"])


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
    ("rule 1", "ARTIFACT_PIPELINE_MISMATCH", lambda at: at.describe(at.app(), pipelineId="org.example.others")),
    ("rule 1", "ARTIFACT_CONTRACT_VERSION_MISMATCH", lambda at: at.describe(at.app(), contractVersion=OTHER)),
    ("rule 2", "ARTIFACT_URI_WRONG_SCHEME", lambda at: at.describe(at.app(), at.image(uri="file:///image"))),
    (
        "rule 2",
        "ARTIFACT_URI_WRONG_SCHEME",
        lambda at: at.describe(at.app(uri=at.image()["uri"], digest=at.image()["digest"])),
    ),
    ("rule 2", "ARTIFACT_URI_OTHER_DIGEST", lambda at: at.describe(at.app(), at.image(digest=OTHER))),
    ("rule 2", "ARTIFACT_URI_MALFORMED", lambda at: at.describe(at.app(), at.image(uri="oci://a/b:latest"))),
    ("rule 2", "ARTIFACT_URI_SCHEME_UNSUPPORTED", lambda at: at.describe(at.app(uri="app.jar"))),
    ("rule 2", "ARTIFACT_URI_SCHEME_UNSUPPORTED", lambda at: at.describe(at.app(uri="https://a.example/app.jar"))),
    ("rule 3", "ARTIFACT_URI_NOT_CANONICAL", lambda at: at.describe(at.app(uri="file:/app.jar"))),
    ("rule 3", "ARTIFACT_URI_NOT_CANONICAL", lambda at: at.describe(at.app(uri="file:///a/../app.jar"))),
    ("rule 3", "ARTIFACT_URI_NOT_CANONICAL", lambda at: at.describe(at.app(uri="file:///%61pp.jar"))),
    ("rule 3", "ARTIFACT_URI_MALFORMED", lambda at: at.describe(at.app(uri="file:///app.jar?a=b"))),
    ("rule 3", "ARTIFACT_URI_MALFORMED", lambda at: at.describe(at.app(uri="file://host/app.jar"))),
    ("rule 4", "ARTIFACT_URI_NOT_CANONICAL", lambda at: at.describe(at.app(uri="maven:a.b:c:jar:1.0"))),
    ("rule 4", "ARTIFACT_URI_MALFORMED", lambda at: at.describe(at.app(uri="maven://a.b:c:1.0"))),
    ("rule 4", "ARTIFACT_URI_MALFORMED", lambda at: at.describe(at.app(uri="maven:a..b:c:1.0"))),
    ("rule 4", "ARTIFACT_URI_MALFORMED", lambda at: at.describe(at.app(uri="maven:a:b:c:d:e:1"))),
    ("rule 5", "STEP_NOT_PLACED", lambda at: at.describe(at.app(stepIds=["Pay"]))),
    ("rule 5", "STEP_UNKNOWN", lambda at: at.describe(at.app(stepIds=["Validate", "Pay", "Ship"]))),
    ("rule 5", "STEP_PLACED_TWICE", lambda at: at.describe(at.app(), at.image(stepIds=["Pay"]))),
    ("rule 5", "CONTRACT_WITHOUT_STEPS", lambda at: with_steps(at, hosted=[])),
    ("rule 5", "CONTRACT_STEP_REPEATED", lambda at: with_steps(at, "Pay", "Pay", hosted=["Pay"])),
    ("rule 5", "CONTRACT_STEP_UNNAMED", lambda at: with_steps(at, "Pay", "", hosted=["Pay"])),
    ("rule 5", "IDENTITY_MALFORMED", lambda at: with_steps(at, "Pay", " ", hosted=["Pay"])),
    ("rule 6", "CAPABILITY_NOT_COVERED", lambda at: at.describe(at.app(capabilities=["local"]))),
    ("rule 6", "CAPABILITY_UNKNOWN", lambda at: at.describe(at.app(capabilities=["local", "rest", "grpc"]))),
    (
        "rule 6",
        "CAPABILITY_UNKNOWN",
        lambda at: at.describe(at.app(), at.image(capabilities=["checkpoint-each-step"])),
    ),
    ("members", "DESCRIPTOR_NO_ARTIFACTS", lambda at: at.describe()),
    ("members", "DESCRIPTOR_SCHEMA_VERSION_UNSUPPORTED", lambda at: at.describe(at.app(), schemaVersion=2)),
    ("members", "DESCRIPTOR_UNKNOWN_MEMBER", lambda at: at.describe(at.app(), more=1)),
    ("members", "DESCRIPTOR_BLANK_MEMBER", lambda at: at.describe(at.app(), releaseVersion=" ")),
    ("members", "ARTIFACT_ID_REPEATED", lambda at: at.describe(at.app(), at.app())),
    ("members", "ARTIFACT_ID_MALFORMED", lambda at: at.describe(at.app(artifactId="a b"))),
    ("members", "ARTIFACT_KIND_UNSUPPORTED", lambda at: at.describe(at.app(kind="local-file"))),
    ("members", "ARTIFACT_DIGEST_MALFORMED", lambda at: at.describe(at.app(digest=OTHER.upper()))),
    ("members", "ARTIFACT_ASSOCIATION_REPEATED", lambda at: at.describe(at.app(stepIds=["Pay", "Pay"]))),
    ("members", "ARTIFACT_ASSOCIATION_BLANK", lambda at: at.describe(at.app(capabilities=[""]))),
    ("members", "IDENTITY_MALFORMED", lambda at: at.describe(at.app(capabilities=[" "]))),
    ("members", "COMPILED_TRUTH_ASSOCIATED", lambda at: at.describe(at.app(kind="compiled-truth"))),
    (UNRESOLVED, "ARTIFACT_DIGEST_MISMATCH", lambda at: at.describe(at.app(digest=OTHER))),
    (UNRESOLVED, "ARTIFACT_FILE_MISSING", lambda at: at.describe(at.app(uri="file:///gone/gone.jar", digest=OTHER))),
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


PIECES = {
    "file:///": [*"ab/.%20:;&+é!'()*,=@_~-\"<>[]^`{|}\\?# ", "%61", "%C3%A9", "%c3", "%00", "..", "//", "%2F", "%7E"],
    "maven:": [*"ab.:-+~_1/ ", "jar", "zip", "-SNAPSHOT", ":jar:"],
    "oci://": [*"ab./:-_~@A", f"@{OTHER}", "@sha256:", OTHER],
}


def uris(scheme: str) -> st.SearchStrategy[str]:
    ends = ["", f"@{OTHER}"] if scheme == "oci://" else [""]
    return st.builds(
        lambda pieces, end: "".join(pieces) + end,
        st.lists(st.sampled_from(PIECES[scheme]), max_size=8),
        st.sampled_from(ends),
    )


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(PIECES)).flatmap(lambda scheme: st.tuples(st.just(scheme), uris(scheme))))
def test_both_read_the_same_locations(case: tuple[str, str]) -> None:
    """Only the product refuses Maven coordinates with a part that leads to another folder."""
    scheme, rest = case
    uri = scheme + rest
    assume(scheme != "maven:" or not {".", ".."} & {*rest.split(":")})
    try:
        theirs = locate(uri).promotable
    except BadRelease:
        with pytest.raises(ArtifactUriError):
            parse_artifact_uri(uri)
        return
    assert parse_artifact_uri(uri).is_promotable is theirs


def test_only_the_product_finds_a_file_next_to_a_descriptor_that_was_moved(folder: Folder) -> None:
    data = folder.describe(folder.app(uri="file:///gone/app.jar"))
    assert folder.theirs(data) == UNRESOLVED
    assert folder.ours(data).exit_status == 0


def test_both_identify_a_release_by_its_exact_bytes(folder: Folder) -> None:
    """Rule 7."""
    data = folder.describe(folder.app())
    for same in (data, data + b"\n", data.replace(b", ", b",")):
        assert folder.theirs(same) == ""
        assert folder.ours(same).descriptor_digest == parse(same).digest == digest_of(same)
        assert (folder.path / "pipeline-release.json").read_bytes() == same


FLOW = """
from pipelines import Pipeline

pipeline = Pipeline("org.acme.double", checkpoint=True)


@pipeline.step
def double(n: int) -> int:
    return 2 * n
"""


def test_both_accept_what_release_writes(folder: Folder) -> None:
    """The double runs its whole command, with files of this machine and with a Maven repository."""
    (folder.path / "flow.py").write_text(FLOW)
    release = ["release", "--profile", "tpf-2026-10"]
    run(folder, "build", "flow:pipeline")
    run(folder, *release)
    tpf_verify = ["release", "verify", "--release", "dist/pipeline-release.json", "--config", "deploy.json"]
    tpf_verify = [str(folder.path / part) if "." in part else part for part in tpf_verify]
    profile: dict[str, Any] = {"maven": {"localRepository": str(folder.path / "maven")}, "oci": {}}
    profile["oci"]["insecureRegistries"] = [folder.registry.host]
    configuration = {"resolverProfiles": {"default": profile}, "environments": {}}
    (folder.path / "deploy.json").write_text(json.dumps(configuration))
    assert tpf.main(tpf_verify, {}) == 0
    run(folder, "verify-release", "dist/pipeline-release.json")

    run(folder, *release, "--maven", "org.acme:double:zip:1.0", "--image", folder.image()["uri"])
    assert tpf.main(tpf_verify, {}) == 4
    stored(
        folder.path / "maven/org/acme/double/1.0/double-1.0.zip",
        (folder.path / "dist/org.acme.double.zip").read_bytes(),
    )
    assert tpf.main(tpf_verify, {}) == 0
    run(folder, "verify-release", "dist/pipeline-release.json", "--maven", "maven", "--promotable")


def run(folder: Folder, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", *arguments],
        cwd=folder.path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
