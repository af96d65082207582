"""Artifacts are verified against their descriptor.

In the profile `tpf-2026-10`, one artifact carries the contract, the others agree with it, and each step has one place.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO

from tests import making
from tests.cases import cases
from wire.documents import contract as contracts
from wire.documents.descriptor import (
    CHECKPOINTS,
    NAMES_PROFILE,
    ArtifactRef,
    CarrierDescriptor,
    Descriptor,
    descriptor_from_json,
)
from wire.documents.json_reader import MAX_FINDINGS
from wire.findings import Severity
from wire.release.content import MAX_CAPABILITIES_BYTES, placement_findings
from wire.release.verification import Verdict, verify

NAME = "pipeline-release.json"
LOCAL_ONLY = {"localTransitionExecution": True, "transitionWorkerProtocols": []}
STEPS = [{"index": 0, "authoredName": "Validate"}, {"index": 1, "authoredName": "Ship"}]
CONTRACT: dict[str, Any] = contracts.publish(
    {"schemaVersion": 1, "pipelineId": "org.x", "steps": STEPS, "capabilities": LOCAL_ONLY}
)
DATA = json.dumps(CONTRACT).encode()
NORMALISED = contracts.parse_contract(DATA).normalised()
Bodies = tuple[dict[str, Any], bytes]
"""An artifact and its bytes."""
AT = "artifacts[0]"
INSIDE = f"{AT}!pipeline-contract.json"
STORED_KINDS = ["jar", "local-file", "native-binary", "lambda-zip"]
FOLDER = "META-INF/pipeline/"
CARRIERS = ["jar", "application-archive", "lambda-zip", "compiled-truth"]
TREE = {f"{FOLDER}openapi.json": "{}", f"{FOLDER}types/order.json": "[]"}
FIRST, SECOND, UPLOADED = "artifacts[0]", "artifacts[1]", "pipeline-contract.json"
PYTHON = json.dumps({"implementation": "cpython", "version": "3", "platform": "any"})
OF_ONE_ARTIFACT = {contracts.PYTHON_ENTRY: PYTHON, contracts.LOCK_ENTRY: "attrs==1", contracts.CAPABILITIES_ENTRY: "[]"}
STEPS_FIELD = f"artifacts[0]!{contracts.CONTRACT_NAME}#steps"
BOTH = ["Validate", "Ship"]
Associations = tuple[list[str], list[str]]
Found = list[tuple[str, str]]
UNKNOWN, NOT_COVERED = ("CAPABILITY_UNKNOWN", "artifacts[1].capabilities"), ("CAPABILITY_NOT_COVERED", "")


def altered(**members: Any) -> bytes:
    """Return the contract as a document with other members, under the same version."""
    return json.dumps({**CONTRACT, **members}).encode()


def contract_of(**members: Any) -> contracts.Contract:
    return contracts.parse_contract(altered(**members))


def archive(contract: bytes | None = DATA, entries: Mapping[str, bytes | str] | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        if contract is not None:
            file.writestr(contracts.CONTRACT_ENTRY, contract)
        for name, body in (entries or {}).items():
            file.writestr(name, body)
    return buffer.getvalue()


def artifact(name: str, kind: str, body: bytes, *, hosts: bool = False, **members: Any) -> dict[str, Any]:
    """Return an artifact. With `hosts` it has both steps and the capability `local`."""
    return {
        "artifactId": name,
        "kind": kind,
        "uri": f"oci://r/{name}@{making.digest_of(body)}" if kind.endswith("-image") else f"maven:org.x:{name}:1",
        "digest": making.digest_of(body),
        "stepIds": ["Validate", "Ship"] if hosts else [],
        "capabilities": ["local"] if hosts else [],
        **members,
    }


def older(*artifacts: dict[str, Any], **members: Any) -> Descriptor:
    release = {"schemaVersion": 1, "pipelineId": "org.x", "releaseVersion": "1"}
    version = {"contractVersion": CONTRACT["contractVersion"]}
    return descriptor_from_json({**release, **version, "artifacts": list(artifacts), **members})


def newer(*artifacts: dict[str, Any], carrier: str = "app") -> CarrierDescriptor:
    descriptor = older(*artifacts, compiledTruthArtifactId=carrier)
    assert isinstance(descriptor, CarrierDescriptor)
    return descriptor


class Store:
    """Stored artifacts by their digest. Records which artifacts were opened."""

    def __init__(self, *bodies: bytes) -> None:
        self.bodies = {making.digest_of(body): body for body in bodies}
        self.opened: list[str] = []
        self.files: list[BinaryIO] = []

    def __call__(self, artifact: ArtifactRef) -> BinaryIO | None:
        body = self.bodies.get(artifact.digest)
        if body is None:
            return None
        self.opened.append(artifact.artifact_id)
        self.files.append(io.BytesIO(body))
        return self.files[-1]


def verified(*artifacts: Bodies, **options: Any) -> Verdict:
    return verify(older(*(artifact for artifact, _ in artifacts)), Store(*(body for _, body in artifacts)), **options)


def carried(*artifacts: Bodies, **options: Any) -> Verdict:
    return verify(newer(*(artifact for artifact, _ in artifacts)), Store(*(body for _, body in artifacts)), **options)


def codes(verdict: Verdict, severity: Severity = Severity.ERROR) -> list[tuple[str, str]]:
    findings = [finding for finding in verdict.findings if finding.severity is severity]
    return [(finding.code, finding.field.removeprefix(f"{NAME}#")) for finding in findings]


NOTHING = archive(None, {"app.py": ""})


def test_a_valid_jar_is_accepted_with_its_contract() -> None:
    body = archive()
    shelf = Store(body)
    assert verify(older(artifact("app", "jar", body)), shelf) == Verdict((), NORMALISED, "app")
    assert [file.closed for file in shelf.files] == [True]


@cases("kind", STORED_KINDS[1:])
@cases("body", [b"\x7fELF", NOTHING])
def test_other_local_kinds_need_no_contract(kind: str, body: bytes) -> None:
    assert verified((artifact("app", kind, body), body)) == Verdict((), None, "app")


def test_remote_artifacts_are_not_opened_and_their_warnings_reject_nothing() -> None:
    kind = "container-image"
    shelf = Store(b"x")
    assert verify(older(artifact("app", kind, b"x")), shelf) == Verdict((), None, "app")
    verdict = verify(older(artifact("app", kind, b"x", digest="sha256:latest")), shelf)
    assert (verdict.accepted, [finding.code for finding in verdict.findings]) == (True, ["ARTIFACT_DIGEST_UNUSUAL"])
    assert shelf.opened == []


@cases("kind", STORED_KINDS)
def test_a_missing_file_and_one_with_other_bytes_are_findings(kind: str) -> None:
    verdict = verify(older(artifact("app", kind, b"")), Store())
    assert codes(verdict) == [("ARTIFACT_FILE_MISSING", AT)]
    verdict = verify(older(artifact("app", kind, b"other")), lambda _: io.BytesIO(archive()))
    assert codes(verdict) == [("ARTIFACT_DIGEST_MISMATCH", f"{AT}.digest")]
    assert (verdict.accepted, verdict.contract) == (False, None)


@cases("body", [b"no zip", NOTHING])
def test_a_jar_without_a_contract_is_a_finding(body: bytes) -> None:
    assert codes(verified((artifact("app", "jar", body), body))) == [("ARTIFACT_CONTRACT_MISSING", AT)]


@cases("kind", STORED_KINDS)
@cases(
    ("contract", "code", "field"),
    [
        (altered(pipelineId="y"), "ARTIFACT_PIPELINE_MISMATCH", AT),
        (altered(contractVersion="v"), "ARTIFACT_CONTRACT_VERSION_MISMATCH", AT),
        (altered(scope=1), "CONTRACT_UNKNOWN_MEMBER", f"{INSIDE}#scope"),
        (b"{", "DOCUMENT_NOT_JSON", INSIDE),
    ],
)
def test_a_contract_must_be_valid_and_match_the_descriptor(kind: str, contract: bytes, code: str, field: str) -> None:
    body = archive(contract)
    verdict = verified((artifact("app", kind, body), body))
    assert codes(verdict) == [(code, field)]
    assert (verdict.accepted, verdict.contract) == (False, None)
    carrier = with_carrier(archive(contract))
    assert {code for code, _ in codes(carrier)} == {code}
    assert all(finding.message.startswith(NAMES_PROFILE) for finding in carrier.findings)


PLAIN = archive()
HOSTED = (artifact("app", "jar", PLAIN, hosts=True), PLAIN)


def with_carrier(body: bytes, kind: str = "application-archive", *others: Bodies, **options: object) -> Verdict:
    """Verify a release whose carrier `app` hosts everything, or only carries if it is of kind compiled-truth."""
    hosts = kind != "compiled-truth"
    host = () if hosts else ((artifact("host", "native-binary", b"\x7fELF", hosts=True), b"\x7fELF"),)
    return carried((artifact("app", kind, body, hosts=hosts), body), *host, *others, **options)


def beside(body: bytes, kind: str = "jar", carrier: bytes | None = None) -> Verdict:
    return with_carrier(carrier or archive(entries=TREE), "jar", (artifact("other", kind, body), body))


@cases("kind", CARRIERS)
def test_the_carrier_is_an_archive_whose_contract_is_that_of_the_release(kind: str) -> None:
    assert with_carrier(PLAIN, kind) == Verdict((), NORMALISED, "app")
    verdict = with_carrier(archive(None), kind)
    assert (codes(verdict), verdict.contract) == ([("COMPILED_TRUTH_MISSING", FIRST)], None)
    assert codes(with_carrier(DATA, kind)) == [("ARTIFACT_NOT_ARCHIVE", FIRST)]
    assert codes(beside(DATA, kind)) == [("ARTIFACT_NOT_ARCHIVE", SECOND)]


def test_a_carrier_with_other_bytes_is_rejected_and_identity_only_excuses_nothing() -> None:
    actual = archive(entries={"a": "b"})
    verdict = verify(newer(HOSTED[0]), lambda _: io.BytesIO(actual), identity_only=True)
    assert codes(verdict) == [("ARTIFACT_DIGEST_MISMATCH", f"{FIRST}.digest")]
    assert verdict.contract is None


def test_compiled_truth_has_no_other_entries_but_folders() -> None:
    body = archive(entries={**TREE, "META-INF/": "", FOLDER: "", f"{FOLDER}types/": ""})
    assert with_carrier(body, "compiled-truth").findings == ()
    other = archive(entries={"META-INF/pipeline.json": ""})
    assert codes(with_carrier(other, "compiled-truth")) == [("COMPILED_TRUTH_OTHER_ENTRIES", FIRST)]
    assert codes(beside(other, "compiled-truth")) == [("COMPILED_TRUTH_OTHER_ENTRIES", SECOND)]
    assert with_carrier(other, "jar").accepted


@cases(
    "entries",
    [
        {contracts.CONTRACT_ENTRY: DATA},
        dict([*TREE.items()][:1]),
        {"META-INF/MANIFEST.MF": "", "META-INF/pipeline-other/x": "", "meta-inf/pipeline/x": ""},
        {"lib/app.jar": archive(b"{}", {f"{FOLDER}x": ""})},
        OF_ONE_ARTIFACT,
    ],
)
def test_another_archive_may_have_entries_of_the_carrier_and_entries_about_itself(entries: Any) -> None:
    for kind in ("jar", "native-binary"):
        assert beside(archive(None, entries), kind).findings == ()
    assert beside(PLAIN, carrier=archive(entries={**OF_ONE_ARTIFACT})).findings == ()


@cases(
    ("entries", "code"),
    [
        ({contracts.CONTRACT_ENTRY: DATA + b" "}, "CONTRACT_DIFFERS_FROM_CARRIER"),
        ({f"{FOLDER}openapi.json": "{ }"}, "COMPILED_TRUTH_DIFFERS"),
        ({f"{FOLDER}more.json": "{}"}, "COMPILED_TRUTH_DIFFERS"),
    ],
)
def test_entries_of_another_archive_are_those_of_the_carrier_byte_for_byte(entries: Any, code: str) -> None:
    for kind in ("jar", "application-archive", "lambda-zip", "native-binary"):
        assert codes(beside(archive(None, entries), kind)) == [(code, SECOND)]
    assert beside(archive(None, entries), "container-image").findings == ()


@cases("identity_only", [True, False])
def test_missing_bytes_are_an_error_unless_the_release_only_identifies_them(identity_only: bool) -> None:
    code = "ARTIFACT_IDENTITY_ONLY" if identity_only else "ARTIFACT_FILE_MISSING"
    other = artifact("other", "jar", archive(entries={"x": ""}))
    verdict = verify(newer(HOSTED[0]), Store(), identity_only=identity_only)
    assert [finding.code for finding in verdict.findings] == [code]
    assert (verdict.accepted, verdict.contract) == (identity_only, None)
    verdict = verify(newer(HOSTED[0], other), Store(PLAIN), identity_only=identity_only)
    assert [finding.code for finding in verdict.findings] == [code]
    assert (verdict.accepted, verdict.contract) == (identity_only, NORMALISED if identity_only else None)


def test_an_uploaded_contract_is_that_of_the_carrier_byte_for_byte() -> None:
    assert carried(HOSTED, contract_document=DATA) == Verdict((), NORMALISED, "app")
    assert codes(carried(HOSTED, contract_document=DATA + b" ")) == [("CONTRACT_DOCUMENT_DIFFERS", UPLOADED)]
    assert codes(carried(HOSTED, contract_document=b"[]")) == [("DOCUMENT_NOT_OBJECT", UPLOADED)]


@cases(
    ("member", "code"), [("pipelineId", "CONTRACT_PIPELINE_MISMATCH"), ("contractVersion", "CONTRACT_VERSION_MISMATCH")]
)
def test_an_uploaded_contract_stands_in_for_a_carrier_without_bytes(member: str, code: str) -> None:
    wanted = newer(HOSTED[0])
    verdict = verify(wanted, Store(), DATA, identity_only=True)
    assert (verdict.accepted, verdict.contract) == (True, NORMALISED)
    assert not verify(wanted, Store(), DATA).accepted
    verdict = verify(wanted, Store(), altered(**{member: "x"}), identity_only=True)
    assert codes(verdict) == [(code, f"{UPLOADED}#{member}")]


@cases(
    ("written", "checkpoints"),
    [
        (json.dumps(["other", CHECKPOINTS]), True),
        (json.dumps([CHECKPOINTS]).ljust(MAX_CAPABILITIES_BYTES), True),
        (json.dumps([CHECKPOINTS]).ljust(MAX_CAPABILITIES_BYTES + 1), False),
        *((other, False) for other in ("[" * 30_000, "null", json.dumps({CHECKPOINTS: True}), json.dumps(CHECKPOINTS))),
    ],
)
def test_an_artifact_requests_checkpoints_in_a_small_list_only(written: str, checkpoints: bool) -> None:
    verdict = with_carrier(archive(entries={contracts.CAPABILITIES_ENTRY: written}))
    assert (verdict.findings, verdict.checkpoints) == ((), checkpoints)


def found(*associations: Associations, **members: Any) -> Found:
    """Return the findings about artifacts with these steps and capabilities, after a carrier without any."""
    hosts = [
        artifact(f"a{number}", "native-binary", b"", stepIds=steps, capabilities=capabilities)
        for number, (steps, capabilities) in enumerate(associations, start=1)
    ]
    wanted = newer(artifact("app", "compiled-truth", b""), *hosts)
    findings = placement_findings(wanted, contract_of(**members))
    return [(finding.code, finding.field.removeprefix(NAME).removeprefix("#")) for finding in findings]


def protocols(*names: str, local: bool = False) -> dict[str, Any]:
    return {"localTransitionExecution": local, "transitionWorkerProtocols": list(names)}


@cases(
    ("associations", "expected"),
    [
        ([(BOTH, ["local"])], []),
        ([(["Ship"], []), (["Validate"], []), ([], ["local"])], []),
        ([(["Validate"], ["local"])], [("STEP_NOT_PLACED", "")]),
        ([(BOTH, ["local"]), (["Ship"], [])], [("STEP_PLACED_TWICE", "")]),
        ([(BOTH, ["local"]), (["ship"], [])], [("STEP_UNKNOWN", "artifacts[2].stepIds")]),
    ],
)
def test_each_step_is_in_exactly_one_artifact(associations: list[Associations], expected: Found) -> None:
    assert found(*associations) == expected


@cases(
    ("declared", "capabilities", "expected"),
    [
        (protocols("rest", local=True), ["rest", "local"], []),
        (protocols(local=True), [], [NOT_COVERED]),
        (protocols("rest", "grpc"), ["rest"], [NOT_COVERED]),
        (protocols("rest"), ["rest", "local"], [UNKNOWN]),
    ],
)
def test_the_artifacts_cover_the_declared_capabilities_and_no_others(
    declared: dict[str, Any], capabilities: list[str], expected: Found
) -> None:
    assert found((BOTH, capabilities), capabilities=declared) == expected


@cases("stored", [True, False])
def test_a_release_with_wrong_places_is_rejected_even_if_its_contract_was_uploaded(stored: bool) -> None:
    carrier = archive()
    wanted = newer(artifact("app", "jar", carrier, stepIds=["Ship"], capabilities=["local"]))
    verdict = verify(wanted, Store(*[carrier] * stored), DATA, identity_only=True)
    [finding] = [finding for finding in verdict.findings if finding.code != "ARTIFACT_IDENTITY_ONLY"]
    assert (finding.code, finding.message.startswith(NAMES_PROFILE)) == ("STEP_NOT_PLACED", True)
    assert (verdict.accepted, verdict.contract) == (False, None)


def test_a_contract_has_steps_and_their_names_are_unique() -> None:
    assert found(([], ["local"]), steps=[]) == [("CONTRACT_WITHOUT_STEPS", STEPS_FIELD)]
    named, unnamed = {"index": 0, "authoredName": "A"}, {"index": 0}
    for second, code in ((named, "CONTRACT_STEP_REPEATED"), (unnamed, "CONTRACT_STEP_UNNAMED")):
        steps = [named, {**second, "index": 1}]
        assert (code, f"{STEPS_FIELD}[1].authoredName") in found((["A"], ["local"]), steps=steps)


def test_findings_about_places_are_limited() -> None:
    carrier = archive()
    names = [str(number) for number in range(2 * MAX_FINDINGS)]
    verdict = verify(newer(artifact("app", "jar", carrier, stepIds=names, capabilities=names)), Store(carrier))
    assert (len(verdict.findings), verdict.accepted) == (MAX_FINDINGS + 1, False)
