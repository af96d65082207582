"""One artifact carries the contract, and the others agree with it (profile `tpf-2026-10`, rule 1)."""

from __future__ import annotations

import io
import json

from tests.cases import cases
from tests.unit.wire.release.releasing import (
    DATA,
    NORMALISED,
    Bodies,
    Store,
    altered,
    archive,
    artifact,
    carried,
    codes,
    findings_of,
    newer,
    older,
)
from wire.documents.contract import CAPABILITIES_ENTRY, CONTRACT_ENTRY, LOCK_ENTRY, PYTHON_ENTRY, parse_contract
from wire.documents.descriptor import CHECKPOINTS, NAMES_PROFILE
from wire.release.content import MAX_CAPABILITIES_BYTES
from wire.release.verification import Verdict, verify

FOLDER = "META-INF/pipeline/"
CARRIERS = ["jar", "application-archive", "lambda-zip", "compiled-truth"]
TREE = {f"{FOLDER}openapi.json": "{}", f"{FOLDER}types/order.json": "[]"}
FIRST, SECOND, UPLOADED = "artifacts[0]", "artifacts[1]", "pipeline-contract.json"
PLAIN = archive()
HOSTED = (artifact("app", "jar", PLAIN, hosts=True), PLAIN)


def with_carrier(body: bytes, kind: str = "application-archive", *others: Bodies, **options: object) -> Verdict:
    """Verify a release whose carrier `app` hosts everything, or only carries if it is of kind compiled-truth."""
    hosts = kind != "compiled-truth"
    host = () if hosts else ((artifact("host", "native-binary", b"\x7fELF", hosts=True), b"\x7fELF"),)
    return carried((artifact("app", kind, body, hosts=hosts), body), *host, *others, **options)


def beside(body: bytes, kind: str = "jar", carrier: bytes | None = None) -> Verdict:
    """Verify a release whose carrier is followed by another artifact."""
    return with_carrier(carrier or archive(entries=TREE), "jar", (artifact("other", kind, body), body))


# --- the carrier ---


@cases("kind", CARRIERS)
def test_the_contract_of_the_carrier_is_the_contract_of_the_release(kind: str) -> None:
    assert with_carrier(PLAIN, kind) == Verdict((), NORMALISED, "app")
    verdict = with_carrier(archive(None), kind)
    assert (codes(verdict), verdict.contract) == ([("COMPILED_TRUTH_MISSING", FIRST)], None)


@cases("kind", CARRIERS)
def test_artifacts_of_these_kinds_are_archives(kind: str) -> None:
    assert codes(with_carrier(DATA, kind)) == [("ARTIFACT_NOT_ARCHIVE", FIRST)]
    assert codes(beside(DATA, kind)) == [("ARTIFACT_NOT_ARCHIVE", SECOND)]


def test_a_carrier_with_other_bytes_is_rejected_and_identity_only_excuses_nothing() -> None:
    actual = archive(entries={"a": "b"})
    verdict = verify(newer(HOSTED[0]), lambda _: io.BytesIO(actual), identity_only=True)
    assert codes(verdict) == [("ARTIFACT_DIGEST_MISMATCH", f"{FIRST}.digest")]
    assert verdict.contract is None


@cases(
    ("contract", "expected"),
    [
        (b"{}", {"CONTRACT_SCHEMA_VERSION_UNSUPPORTED", "CONTRACT_MISSING_MEMBER"}),
        (altered(pipelineId="x"), {"ARTIFACT_PIPELINE_MISMATCH"}),
        (altered(contractVersion="x"), {"ARTIFACT_CONTRACT_VERSION_MISMATCH"}),
    ],
)
def test_the_contract_of_the_carrier_is_valid_and_belongs_to_the_descriptor(
    contract: bytes, expected: set[str]
) -> None:
    verdict = with_carrier(archive(contract))
    assert {code for code, _ in codes(verdict)} == expected
    assert all(message.startswith(NAMES_PROFILE) for _, _, message in findings_of(verdict))


def test_the_carrier_is_the_primary_artifact_wherever_it_is() -> None:
    truth, last = archive(entries=TREE), archive(entries={"x": ""})
    artifacts = (artifact("jar", "jar", PLAIN, hosts=True), artifact("app", "compiled-truth", truth))
    verdict = carried((artifacts[0], PLAIN), (artifacts[1], truth), (artifact("last", "jar", last), last))
    assert verdict == Verdict((), NORMALISED, "app")


# --- compiled truth ---


def test_compiled_truth_has_no_other_entries() -> None:
    body = archive(entries={**TREE, "app.py": "", "META-INF/pipeline.json": ""})
    [(code, field, message)] = findings_of(with_carrier(body, "compiled-truth"))
    assert (code, field) == ("COMPILED_TRUTH_OTHER_ENTRIES", FIRST)
    assert message.endswith("outside of META-INF/pipeline/: app.py, META-INF/pipeline.json")
    assert codes(beside(body, "compiled-truth"))[0] == ("COMPILED_TRUTH_OTHER_ENTRIES", SECOND)
    for kind in CARRIERS[:3]:
        assert with_carrier(body, kind).accepted


def test_folders_of_compiled_truth_are_no_entries() -> None:
    body = archive(None, {"META-INF/": "", FOLDER: "", CONTRACT_ENTRY: DATA, f"{FOLDER}types/": ""})
    assert with_carrier(body, "compiled-truth").findings == ()


# --- other archives ---

INNER = archive(b"{}", {f"{FOLDER}x": ""})
PYTHON = json.dumps({"implementation": "cpython", "version": "3", "platform": "any"})
OF_ONE_ARTIFACT = {PYTHON_ENTRY: PYTHON, LOCK_ENTRY: "attrs==1", CAPABILITIES_ENTRY: "[]"}


@cases(
    "body",
    [
        PLAIN,
        archive(None, dict([*TREE.items()][:1])),
        archive(None, {"META-INF/MANIFEST.MF": "", "META-INF/pipeline-other/x": "", "meta-inf/pipeline/x": ""}),
        archive(entries={"lib/app.jar": INNER}),
    ],
)
def test_other_archives_may_have_entries_of_the_carrier(body: bytes) -> None:
    for kind in ("jar", "native-binary"):
        assert beside(body, kind).findings == ()


@cases(("name", "own"), [*OF_ONE_ARTIFACT.items(), ("lib/app.jar", INNER)])
def test_entries_about_one_artifact_may_differ_and_nested_archives_are_not_compared(
    name: str, own: str | bytes
) -> None:
    assert beside(archive(entries={name: own})).findings == ()
    assert beside(PLAIN, carrier=archive(entries={name: own})).findings == ()


@cases("kind", ["jar", "application-archive", "lambda-zip", "native-binary"])
def test_the_contract_of_another_archive_is_that_of_the_carrier_byte_for_byte(kind: str) -> None:
    other = DATA + b" "
    assert parse_contract(other).normalised() == NORMALISED
    assert codes(beside(archive(other), kind)) == [("CONTRACT_DIFFERS_FROM_CARRIER", SECOND)]


@cases(("name", "body"), [("openapi.json", "{ }"), ("more.json", "{}"), ("types/Order.json", "[]")])
def test_entries_of_another_archive_are_those_of_the_carrier(name: str, body: str) -> None:
    assert codes(beside(archive(entries={FOLDER + name: body}))) == [("COMPILED_TRUTH_DIFFERS", SECOND)]


@cases(
    ("kind", "body"),
    [("native-binary", b"\x7fELF"), ("container-image", archive(b"{}")), ("lambda-image", archive(b"{}"))],
)
def test_a_native_binary_needs_no_archive_and_images_are_not_opened(kind: str, body: bytes) -> None:
    assert beside(body, kind).findings == ()


# --- artifacts without bytes ---


@cases("identity_only", [True, False])
def test_missing_bytes_are_an_error_unless_the_release_only_identifies_them(identity_only: bool) -> None:
    code = "ARTIFACT_IDENTITY_ONLY" if identity_only else "ARTIFACT_FILE_MISSING"
    other = artifact("other", "jar", archive(entries={"x": ""}))
    verdict = verify(newer(HOSTED[0]), Store(), identity_only=identity_only)
    assert [(code, field) for code, field, _ in findings_of(verdict)] == [(code, FIRST)]
    assert (verdict.accepted, verdict.contract) == (identity_only, None)

    verdict = verify(newer(HOSTED[0], other), Store(PLAIN), identity_only=identity_only)
    assert [(code, field) for code, field, _ in findings_of(verdict)] == [(code, SECOND)]
    assert (verdict.accepted, verdict.contract) == (identity_only, NORMALISED if identity_only else None)

    verdict = verify(older(artifact("app", "jar", PLAIN)), Store(), identity_only=identity_only)
    assert verdict.accepted is identity_only

    image = artifact("image", "container-image", b"x")
    assert verify(newer(HOSTED[0], image), Store(PLAIN), identity_only=identity_only).findings == ()


# --- a contract that was uploaded with the descriptor ---


def test_an_uploaded_contract_is_that_of_the_carrier_byte_for_byte() -> None:
    assert carried(HOSTED, contract_document=DATA) == Verdict((), NORMALISED, "app")
    assert codes(carried(HOSTED, contract_document=DATA + b" ")) == [("CONTRACT_DOCUMENT_DIFFERS", UPLOADED)]
    assert codes(carried(HOSTED, contract_document=b"[]")) == [("DOCUMENT_NOT_OBJECT", UPLOADED)]


def test_an_uploaded_contract_stands_in_for_a_carrier_without_bytes() -> None:
    wanted = newer(HOSTED[0])
    verdict = verify(wanted, Store(), DATA, identity_only=True)
    assert (verdict.accepted, verdict.contract) == (True, NORMALISED)
    assert [finding.code for finding in verdict.findings] == ["ARTIFACT_IDENTITY_ONLY"]
    assert not verify(wanted, Store(), DATA).accepted
    for member, code in (
        ("pipelineId", "CONTRACT_PIPELINE_MISMATCH"),
        ("contractVersion", "CONTRACT_VERSION_MISMATCH"),
    ):
        verdict = verify(wanted, Store(), altered(**{member: "x"}), identity_only=True)
        assert codes(verdict) == [(code, f"{UPLOADED}#{member}")]


def test_an_uploaded_contract_is_compared_with_all_archives_if_the_carrier_has_no_bytes() -> None:
    same, other = archive(entries={"x": ""}), archive(DATA + b" ")
    absent = artifact("app", "jar", b"absent", hosts=True)
    wanted = newer(absent, artifact("same", "jar", same), artifact("other", "jar", other))
    assert verify(wanted, Store(same), DATA, identity_only=True).accepted
    verdict = verify(wanted, Store(same, other), DATA, identity_only=True)
    assert codes(verdict) == [("CONTRACT_DOCUMENT_DIFFERS", UPLOADED)]
    assert findings_of(verdict)[-1][2].endswith("the uploaded contract differs from the one in other")


# --- checkpoints ---


def requested(capabilities: bytes | str) -> Verdict:
    return with_carrier(archive(entries={CAPABILITIES_ENTRY: capabilities}))


def test_an_artifact_of_an_accepted_release_requests_checkpoints() -> None:
    listed = json.dumps(["other", CHECKPOINTS])
    other = archive(None, {CAPABILITIES_ENTRY: listed})
    assert requested(listed).checkpoints
    assert with_carrier(PLAIN, "jar", (artifact("other", "lambda-zip", other), other)).checkpoints
    assert not with_carrier(PLAIN, "jar").checkpoints
    assert not with_carrier(archive(b"{}", {CAPABILITIES_ENTRY: listed})).checkpoints


@cases(("size", "checkpoints"), [(MAX_CAPABILITIES_BYTES, True), (MAX_CAPABILITIES_BYTES + 1, False)])
def test_the_list_of_capabilities_has_a_largest_size(size: int, checkpoints: bool) -> None:
    assert requested(json.dumps([CHECKPOINTS]).ljust(size)).checkpoints is checkpoints


@cases(
    "written",
    [
        *(b"\xff", "null", "[1, null, {}, []]", "[" * 30_000),
        *(json.dumps(each) for each in (CHECKPOINTS, {CHECKPOINTS: True}, [[CHECKPOINTS]])),
    ],
)
def test_any_other_list_requests_nothing_and_rejects_nothing(written: bytes | str) -> None:
    verdict = requested(written)
    assert (verdict.findings, verdict.checkpoints) == ((), False)
