"""One artifact carries the contract, and the others agree with it (profile `tpf-2026-10`, rule 1)."""

from __future__ import annotations

import io
import json
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from typing import BinaryIO

from tests.cases import cases
from tests.unit.wire.release.releasing import (
    CONTRACT,
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
from wire.archive.reader import read_layout
from wire.documents.contract import CAPABILITIES_ENTRY, CONTRACT_ENTRY, LOCK_ENTRY, PYTHON_ENTRY, parse_contract
from wire.documents.descriptor import CHECKPOINTS, NAMES_PROFILE
from wire.findings import Severity
from wire.release.content import MAX_CAPABILITIES_BYTES, content_of
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


def refusal(code: str, field: str, message: str) -> list[tuple[str, str, str]]:
    return [(code, field, NAMES_PROFILE + message)]


# --- the carrier ---


@cases("kind", CARRIERS)
def test_the_contract_of_the_carrier_is_the_contract_of_the_release(kind: str) -> None:
    assert with_carrier(PLAIN, kind) == Verdict((), NORMALISED, "app")
    verdict = with_carrier(
        archive(None, {f"{FOLDER}other.json": "{}", "lib.jar": PLAIN} if kind == "jar" else {}), kind
    )
    message = f"the carrier of the contract has no entry {CONTRACT_ENTRY}"
    assert findings_of(verdict) == refusal("COMPILED_TRUTH_MISSING", FIRST, message)
    assert verdict.contract is None


@cases("kind", CARRIERS)
@cases("body", [b"", b"\x7fELF", DATA])
def test_artifacts_of_these_kinds_are_archives(kind: str, body: bytes) -> None:
    message = f"an artifact of kind {kind} must be a zip archive"
    assert findings_of(with_carrier(body, kind)) == refusal("ARTIFACT_NOT_ARCHIVE", FIRST, message)
    assert findings_of(beside(body, kind)) == refusal("ARTIFACT_NOT_ARCHIVE", SECOND, message)


def test_a_damaged_archive_is_compared_with_nothing() -> None:
    assert codes(beside(archive(b"other")[:-30])) == [("ARCHIVE_TRUNCATED", SECOND)]
    verdict = beside(archive(b"other"), carrier=PLAIN[:-30])
    assert ("ARCHIVE_TRUNCATED", FIRST) in codes(verdict)
    assert not {"COMPILED_TRUTH_MISSING", "CONTRACT_DIFFERS_FROM_CARRIER"} & {code for code, _ in codes(verdict)}


@cases("identity_only", [True, False])
def test_a_carrier_with_other_bytes_is_rejected_and_identity_only_excuses_nothing(identity_only: bool) -> None:
    actual = archive(entries={"a": "b"})
    verdict = verify(newer(HOSTED[0]), lambda _: io.BytesIO(actual), identity_only=identity_only)
    message = "Release artifact digest does not match local file checksum"
    assert findings_of(verdict) == refusal("ARTIFACT_DIGEST_MISMATCH", f"{FIRST}.digest", message)
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


def test_a_wrong_hash_in_the_carrier_is_a_warning_that_names_the_profile() -> None:
    verdict = with_carrier(archive(altered(contractHash="beef")))
    [(_, _, message)] = findings_of(verdict)
    assert (verdict.accepted, message.startswith(NAMES_PROFILE)) == (True, True)
    assert [code for code, _ in codes(verdict, Severity.WARNING)] == ["CONTRACT_HASH_MISMATCH"]


def test_the_carrier_is_the_primary_artifact_wherever_it_is() -> None:
    truth, last = archive(entries=TREE), archive(entries={"x": ""})
    artifacts = (artifact("jar", "jar", PLAIN, hosts=True), artifact("app", "compiled-truth", truth))
    verdict = carried((artifacts[0], PLAIN), (artifacts[1], truth), (artifact("last", "jar", last), last))
    assert verdict == Verdict((), NORMALISED, "app")


# --- compiled truth ---


def test_compiled_truth_has_no_other_entries() -> None:
    entries = {**TREE, "app.py": "", "META-INF/MANIFEST.MF": "", "META-INF/pipeline.json": ""}
    message = f"an artifact of kind compiled-truth has entries outside of {FOLDER}: "
    names = "app.py, META-INF/MANIFEST.MF, META-INF/pipeline.json"
    found = findings_of(with_carrier(archive(entries=entries), "compiled-truth"))
    assert found == refusal("COMPILED_TRUTH_OTHER_ENTRIES", FIRST, message + names)
    many = archive(entries={str(number): "" for number in range(9)})
    found = findings_of(with_carrier(many, "compiled-truth"))
    assert found == refusal("COMPILED_TRUTH_OTHER_ENTRIES", FIRST, message + "0, 1, 2, 3, 4, …")
    assert codes(beside(many, "compiled-truth")) == [("COMPILED_TRUTH_OTHER_ENTRIES", SECOND)]
    for kind in CARRIERS[:3]:
        assert with_carrier(archive(entries=entries), kind).accepted


def test_folders_of_compiled_truth_are_no_entries() -> None:
    body = archive(None, {"META-INF/": "", FOLDER: "", CONTRACT_ENTRY: DATA, f"{FOLDER}types/": ""})
    assert with_carrier(body, "compiled-truth").findings == ()


# --- other archives ---

INNER = archive(b"{}", {f"{FOLDER}x": ""})
PYTHON = json.dumps({"implementation": "cpython", "version": "3", "platform": "any"})
OF_ONE_ARTIFACT = {PYTHON_ENTRY: PYTHON, LOCK_ENTRY: "attrs==1", CAPABILITIES_ENTRY: "[]"}


@cases("kind", ["jar", "application-archive", "lambda-zip", "native-binary"])
@cases(
    "body",
    [
        archive(entries={**TREE, "app.py": ""}),
        archive(None, {"app.py": ""}),
        PLAIN,
        archive(None, dict([*TREE.items()][:1])),
        archive(None, {"META-INF/MANIFEST.MF": "", "META-INF/pipeline-other/x": "", "meta-inf/pipeline/x": ""}),
        archive(entries={"lib/app.jar": INNER}),
    ],
)
def test_other_archives_may_have_entries_of_the_carrier(kind: str, body: bytes) -> None:
    assert beside(body, kind).findings == ()


@cases(("name", "own"), [*OF_ONE_ARTIFACT.items(), ("lib/app.jar", INNER)])
def test_entries_about_one_artifact_may_differ_and_nested_archives_are_not_compared(
    name: str, own: str | bytes
) -> None:
    assert beside(archive(entries={name: own})).findings == ()
    assert beside(PLAIN, carrier=archive(entries={name: own})).findings == ()


@cases("kind", ["jar", "application-archive", "lambda-zip", "native-binary"])
@cases("other", [DATA + b" ", DATA.replace(b": ", b":", 1), json.dumps(CONTRACT, indent=1).encode()])
def test_the_contract_of_another_archive_is_that_of_the_carrier_byte_for_byte(kind: str, other: bytes) -> None:
    assert parse_contract(other).normalised() == NORMALISED
    message = "its contract differs from the one in the carrier app"
    assert findings_of(beside(archive(other), kind)) == refusal("CONTRACT_DIFFERS_FROM_CARRIER", SECOND, message)


@cases(("name", "body"), [("openapi.json", "{ }"), ("more.json", "{}"), ("types/Order.json", "[]")])
def test_entries_of_another_archive_are_those_of_the_carrier(name: str, body: str) -> None:
    message = f"entries differ from those in the carrier app, or are missing there: {FOLDER}{name}"
    found = findings_of(beside(archive(entries={FOLDER + name: body})))
    assert found == refusal("COMPILED_TRUTH_DIFFERS", SECOND, message)


def test_each_differing_archive_gets_its_findings() -> None:
    other = archive(DATA + b"\n", {f"{FOLDER}x": ""})
    others = [(artifact(name, "jar", body), body) for name, body in (("a", other), ("b", other), ("c", b""))]
    assert codes(with_carrier(PLAIN, "jar", *others)) == [
        ("ARTIFACT_NOT_ARCHIVE", "artifacts[3]"),
        ("CONTRACT_DIFFERS_FROM_CARRIER", SECOND),
        ("COMPILED_TRUTH_DIFFERS", SECOND),
        ("CONTRACT_DIFFERS_FROM_CARRIER", "artifacts[2]"),
        ("COMPILED_TRUTH_DIFFERS", "artifacts[2]"),
    ]


@cases(
    ("kind", "body"),
    [("native-binary", b"\x7fELF"), ("container-image", archive(b"{}")), ("lambda-image", archive(b"{}"))],
)
def test_a_native_binary_needs_no_archive_and_images_are_not_opened(kind: str, body: bytes) -> None:
    assert beside(body, kind).findings == ()


# --- artifacts without bytes ---

IDENTITY_ONLY = "The bytes of this artifact are not stored: the release only identifies them"
NOT_UPLOADED = NAMES_PROFILE + "the bytes of this artifact were not uploaded, and no repository has them"
NO_FILE = "Release JAR artifact must point to a readable local file"


@cases("identity_only", [True, False])
def test_missing_bytes_are_an_error_unless_the_release_only_identifies_them(identity_only: bool) -> None:
    code = "ARTIFACT_IDENTITY_ONLY" if identity_only else "ARTIFACT_FILE_MISSING"
    other = artifact("other", "jar", archive(entries={"x": ""}))
    verdict = verify(newer(HOSTED[0]), Store(), identity_only=identity_only)
    assert findings_of(verdict) == [(code, FIRST, NAMES_PROFILE + IDENTITY_ONLY if identity_only else NOT_UPLOADED)]
    assert (verdict.accepted, verdict.contract) == (identity_only, None)

    verdict = verify(newer(HOSTED[0], other), Store(PLAIN), identity_only=identity_only)
    assert [(code, field) for code, field, _ in findings_of(verdict)] == [(code, SECOND)]
    assert (verdict.accepted, verdict.contract) == (identity_only, NORMALISED if identity_only else None)

    verdict = verify(older(artifact("app", "jar", PLAIN)), Store(), identity_only=identity_only)
    assert findings_of(verdict) == [(code, FIRST, IDENTITY_ONLY if identity_only else NO_FILE)]
    assert verdict.accepted is identity_only

    image = artifact("image", "container-image", b"x")
    assert verify(newer(HOSTED[0], image), Store(PLAIN), identity_only=identity_only).findings == ()


# --- a contract that was uploaded with the descriptor ---


def test_an_uploaded_contract_is_that_of_the_carrier_byte_for_byte() -> None:
    assert carried(HOSTED, contract_document=DATA) == Verdict((), NORMALISED, "app")
    message = "the uploaded contract differs from the one in app"
    found = findings_of(carried(HOSTED, contract_document=DATA + b" "))
    assert found == refusal("CONTRACT_DOCUMENT_DIFFERS", UPLOADED, message)
    assert codes(carried(HOSTED, contract_document=b"[]")) == [("DOCUMENT_NOT_OBJECT", UPLOADED)]


def test_an_uploaded_contract_of_the_older_profile_may_have_another_layout() -> None:
    wanted = older(artifact("app", "jar", PLAIN))
    verdict = verify(wanted, Store(PLAIN), DATA + b" ")
    assert (verdict.findings, verdict.contract) == ((), NORMALISED)
    verdict = verify(wanted, Store(PLAIN), altered(module="m"))
    assert codes(verdict) == [("CONTRACT_DOCUMENT_DIFFERS", UPLOADED)]


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
        *(b"", b"{", b"\xff", f'["{CHECKPOINTS}"', "null", "1" * 5000, "[1, null, {}, []]"),
        *("[" * 30_000, "[" * 30_000 + "]" * 30_000),
        *(json.dumps(each) for each in (CHECKPOINTS, {CHECKPOINTS: True}, [[CHECKPOINTS]], [f"{CHECKPOINTS} "])),
    ],
)
def test_any_other_list_requests_nothing_and_rejects_nothing(written: bytes | str) -> None:
    verdict = requested(written)
    assert (verdict.findings, verdict.checkpoints) == ((), False)


# --- cost ---


def seconds(read: Callable[[BinaryIO], object], body: bytes) -> float:
    """Return the CPU time that reading takes."""
    started = time.process_time()
    read(io.BytesIO(body))
    return time.process_time() - started


def test_hashing_a_folder_of_many_entries_costs_little_more_than_inspecting_them() -> None:
    names = [f"{FOLDER}{number:05}/{'n' * 100}" for number in range(6_500)]
    body = archive(None, dict.fromkeys(names, ""))
    assert seconds(content_of, body) < 3 * seconds(read_layout, body) + 0.2
    tracemalloc.start()
    content = content_of(io.BytesIO(body))
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (content.findings, list(content.truth)) == ((), names)
    assert kept < 4 * 1024**2
    assert peak < 10 * 1024**2


def test_unpacking_a_large_folder_needs_constant_memory() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(f"{FOLDER}large", bytes(64 * 1024**2))
    tracemalloc.start()
    content = content_of(buffer)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(content.truth) == 1
    assert peak < 8 * 1024**2
