"""One artifact carries the contract, and the others agree with it (profile `tpf-2026-10`, rule 1)."""

from __future__ import annotations

import io
import json
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO

from tests.cases import cases
from tests.unit.wire.release.carried import (
    CONTRACT,
    DATA,
    NAME,
    Store,
    archive,
    artifact,
    codes,
    descriptor,
    errors,
    of_older_profile,
    released,
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
NORMALISED = parse_contract(DATA).normalised()
DIGEST_PROBLEM = NAMES_PROFILE + "Release artifact digest does not match local file checksum"


def with_carrier(body: bytes, kind: str = "application-archive", *others: tuple[dict[str, Any], bytes]) -> Verdict:
    """Verify a release whose carrier `app` hosts everything, or only carries if it is of kind compiled-truth."""
    hosts = kind != "compiled-truth"
    host = () if hosts else ((artifact("host", "native-binary", b"\x7fELF", hosts=True), b"\x7fELF"),)
    return released((artifact("app", kind, body, hosts=hosts), body), *host, *others)


def beside(body: bytes, kind: str = "jar", carrier: bytes | None = None) -> Verdict:
    """Verify a release whose carrier is followed by another artifact."""
    return with_carrier(
        archive(entries=TREE) if carrier is None else carrier, "jar", (artifact("other", kind, body), body)
    )


# --- the carrier ---


@cases("kind", CARRIERS)
def test_the_contract_of_the_carrier_is_the_contract_of_the_release(kind: str) -> None:
    verdict = with_carrier(archive(), kind)
    assert verdict == Verdict((), NORMALISED, "app")


@cases("kind", CARRIERS)
def test_a_carrier_without_a_contract_is_rejected(kind: str) -> None:
    verdict = with_carrier(archive(None, {f"{FOLDER}other.json": "{}"}), kind)
    message = f"{NAMES_PROFILE}the carrier of the contract has no entry {CONTRACT_ENTRY}"
    assert errors(verdict) == [("COMPILED_TRUTH_MISSING", "artifacts[0]", message)]
    assert verdict.contract is None


@cases("kind", CARRIERS)
@cases("body", [b"", b"\x7fELF", DATA])
def test_artifacts_of_these_kinds_are_archives(kind: str, body: bytes) -> None:
    message = f"{NAMES_PROFILE}an artifact of kind {kind} must be a zip archive"
    assert errors(with_carrier(body, kind)) == [("ARTIFACT_NOT_ARCHIVE", "artifacts[0]", message)]
    assert errors(beside(body, kind)) == [("ARTIFACT_NOT_ARCHIVE", "artifacts[1]", message)]


def test_a_damaged_carrier_is_rejected_and_compared_with_nothing() -> None:
    verdict = beside(archive(b"other"), carrier=archive()[:-30])
    assert ("ARCHIVE_TRUNCATED", "artifacts[0]") in codes(verdict)
    assert not {"COMPILED_TRUTH_MISSING", "CONTRACT_DIFFERS_FROM_CARRIER"} & {code for code, _ in codes(verdict)}


def test_a_damaged_archive_is_not_compared_with_the_carrier() -> None:
    assert codes(beside(archive(b"other")[:-30])) == [("ARCHIVE_TRUNCATED", "artifacts[1]")]


def test_a_carrier_with_other_bytes_is_rejected() -> None:
    pinned, actual = archive(), archive(entries={"a": "b"})
    wanted = descriptor(artifact("app", "jar", pinned, hosts=True))
    verdict = verify(wanted, lambda _: io.BytesIO(actual))
    assert errors(verdict) == [("ARTIFACT_DIGEST_MISMATCH", "artifacts[0].digest", DIGEST_PROBLEM)]
    assert verdict.contract is None


def test_a_carrier_whose_contract_is_invalid_is_rejected() -> None:
    verdict = with_carrier(archive(b"{}"))
    assert {code for code, _ in codes(verdict)} == {"CONTRACT_SCHEMA_VERSION_UNSUPPORTED", "CONTRACT_MISSING_MEMBER"}
    assert all(message.startswith(NAMES_PROFILE) for _, _, message in errors(verdict))


@cases(
    ("member", "code"),
    [("pipelineId", "ARTIFACT_PIPELINE_MISMATCH"), ("contractVersion", "ARTIFACT_CONTRACT_VERSION_MISMATCH")],
)
def test_the_contract_of_the_carrier_belongs_to_the_descriptor(member: str, code: str) -> None:
    assert codes(with_carrier(archive(json.dumps({**CONTRACT, member: "x"}).encode()))) == [(code, "artifacts[0]")]


def test_a_wrong_hash_in_the_carrier_is_a_warning_that_names_the_profile() -> None:
    verdict = with_carrier(archive(json.dumps({**CONTRACT, "contractHash": "beef"}).encode()))
    assert verdict.accepted
    (finding,) = verdict.findings
    assert (finding.code, finding.severity) == ("CONTRACT_HASH_MISMATCH", Severity.WARNING)
    assert finding.message.startswith(NAMES_PROFILE)


def test_the_carrier_is_the_primary_artifact_wherever_it_is() -> None:
    truth, jar = archive(entries=TREE), archive()
    verdict = released(
        (artifact("jar", "jar", jar, hosts=True), jar),
        (artifact("app", "compiled-truth", truth), truth),
        (artifact("last", "jar", archive(entries={"x": ""})), archive(entries={"x": ""})),
    )
    assert verdict == Verdict((), NORMALISED, "app")


# --- compiled truth ---


def test_compiled_truth_has_no_other_entries() -> None:
    entries = {**TREE, "app.py": "", "META-INF/MANIFEST.MF": "", "META-INF/pipeline.json": ""}
    message = (
        f"{NAMES_PROFILE}an artifact of kind compiled-truth has entries outside of META-INF/pipeline/: "
        "app.py, META-INF/MANIFEST.MF, META-INF/pipeline.json"
    )
    assert errors(with_carrier(archive(entries=entries), "compiled-truth")) == [
        ("COMPILED_TRUTH_OTHER_ENTRIES", "artifacts[0]", message)
    ]
    for kind in ("jar", "application-archive", "lambda-zip"):
        assert with_carrier(archive(entries=entries), kind).accepted


def test_folders_of_compiled_truth_are_no_entries() -> None:
    body = archive(None, {"META-INF/": "", FOLDER: "", CONTRACT_ENTRY: DATA, f"{FOLDER}types/": ""})
    assert with_carrier(body, "compiled-truth").findings == ()


def test_compiled_truth_that_is_not_the_carrier_has_no_other_entries_either() -> None:
    assert codes(beside(archive(entries={"a": ""}), "compiled-truth")) == [
        ("COMPILED_TRUTH_OTHER_ENTRIES", "artifacts[1]")
    ]


def test_a_message_names_five_entries() -> None:
    ((_, _, message),) = errors(
        with_carrier(archive(entries={str(number): "" for number in range(9)}), "compiled-truth")
    )
    assert message.endswith(": 0, 1, 2, 3, 4, …")


# --- other archives ---


@cases("kind", ["jar", "application-archive", "lambda-zip", "native-binary"])
@cases(
    "body",
    [
        archive(entries={**TREE, "app.py": ""}),
        archive(None, {"app.py": ""}),
        archive(),
        archive(None, dict([*TREE.items()][:1])),
        archive(None, {"META-INF/MANIFEST.MF": "", "META-INF/pipeline-other/x": "", "meta-inf/pipeline/x": ""}),
    ],
)
def test_other_archives_may_have_entries_of_the_carrier(kind: str, body: bytes) -> None:
    assert beside(body, kind).findings == ()


@cases("kind", ["jar", "application-archive", "lambda-zip", "native-binary"])
@cases("other", [DATA + b" ", DATA.replace(b": ", b":", 1), json.dumps(CONTRACT, indent=1).encode()])
def test_the_contract_of_another_archive_is_that_of_the_carrier_byte_for_byte(kind: str, other: bytes) -> None:
    assert parse_contract(other).normalised() == NORMALISED
    message = f"{NAMES_PROFILE}its contract differs from the one in the carrier app"
    assert errors(beside(archive(other), kind)) == [("CONTRACT_DIFFERS_FROM_CARRIER", "artifacts[1]", message)]


@cases("entries", [{f"{FOLDER}openapi.json": "{ }"}, {f"{FOLDER}more.json": "{}"}, {f"{FOLDER}types/Order.json": "[]"}])
def test_entries_of_another_archive_are_those_of_the_carrier(entries: dict[str, str]) -> None:
    (name,) = entries
    message = f"{NAMES_PROFILE}entries differ from those in the carrier app, or are missing there: {name}"
    assert errors(beside(archive(entries=entries))) == [("COMPILED_TRUTH_DIFFERS", "artifacts[1]", message)]


def test_each_differing_archive_gets_its_findings() -> None:
    carrier, other = archive(), archive(DATA + b"\n", {f"{FOLDER}x": ""})
    verdict = with_carrier(
        carrier,
        "jar",
        *((artifact(name, "jar", other), other) for name in ("a", "b")),
        (artifact("c", "jar", b""), b""),
    )
    assert codes(verdict) == [
        ("ARTIFACT_NOT_ARCHIVE", "artifacts[3]"),
        ("CONTRACT_DIFFERS_FROM_CARRIER", "artifacts[1]"),
        ("COMPILED_TRUTH_DIFFERS", "artifacts[1]"),
        ("CONTRACT_DIFFERS_FROM_CARRIER", "artifacts[2]"),
        ("COMPILED_TRUTH_DIFFERS", "artifacts[2]"),
    ]


@cases("name", [PYTHON_ENTRY, LOCK_ENTRY, CAPABILITIES_ENTRY])
def test_entries_about_one_artifact_may_differ(name: str) -> None:
    python = json.dumps({"implementation": "cpython", "version": "3", "platform": "any"})
    own = {PYTHON_ENTRY: python, LOCK_ENTRY: "attrs==1", CAPABILITIES_ENTRY: "[]"}[name]
    assert beside(archive(entries={name: own})).findings == ()
    assert beside(archive(), carrier=archive(entries={name: own})).findings == ()


def test_a_nested_archive_is_not_compared() -> None:
    inner = archive(b"{}", {f"{FOLDER}x": ""})
    assert beside(archive(entries={"lib/app.jar": inner})).findings == ()
    assert beside(archive(), carrier=archive(entries={"lib/app.jar": inner})).findings == ()


def test_a_contract_in_a_nested_archive_is_not_the_contract_of_the_carrier() -> None:
    assert codes(with_carrier(archive(None, {"app.jar": archive()}))) == [("COMPILED_TRUTH_MISSING", "artifacts[0]")]


def test_a_native_binary_needs_no_archive() -> None:
    assert beside(b"\x7fELF", "native-binary").findings == ()


@cases("kind", ["container-image", "lambda-image"])
def test_images_are_not_opened(kind: str) -> None:
    assert beside(archive(b"{}"), kind).findings == ()


# --- artifacts without bytes ---


@cases("identity_only", [True, False])
def test_a_carrier_without_bytes(identity_only: bool) -> None:
    wanted = descriptor(artifact("app", "jar", archive(), hosts=True))
    verdict = verify(wanted, Store(), identity_only=identity_only)
    (finding,) = verdict.findings
    assert verdict.accepted is identity_only
    assert (finding.field, verdict.contract) == (f"{NAME}#artifacts[0]", None)
    assert (finding.code, finding.message) == (
        (
            "ARTIFACT_IDENTITY_ONLY",
            NAMES_PROFILE + "The bytes of this artifact are not stored: the release only identifies them",
        )
        if identity_only
        else (
            "ARTIFACT_FILE_MISSING",
            NAMES_PROFILE + "the bytes of this artifact were not uploaded, and no repository has them",
        )
    )


@cases("identity_only", [True, False])
def test_another_artifact_without_bytes(identity_only: bool) -> None:
    carrier, other = archive(), archive(entries={"x": ""})
    wanted = descriptor(artifact("app", "jar", carrier, hosts=True), artifact("other", "jar", other))
    verdict = verify(wanted, Store(carrier), identity_only=identity_only)
    assert verdict.accepted is identity_only
    assert verdict.contract == (NORMALISED if identity_only else None)
    assert [(finding.code, finding.field) for finding in verdict.findings] == [
        ("ARTIFACT_IDENTITY_ONLY" if identity_only else "ARTIFACT_FILE_MISSING", f"{NAME}#artifacts[1]")
    ]


@cases("identity_only", [True, False])
def test_an_image_is_never_missing(identity_only: bool) -> None:
    carrier = archive()
    wanted = descriptor(artifact("app", "jar", carrier, hosts=True), artifact("image", "container-image", b"x"))
    assert verify(wanted, Store(carrier), identity_only=identity_only).findings == ()


def test_identity_only_excuses_no_wrong_bytes() -> None:
    wanted = descriptor(artifact("app", "jar", archive(), hosts=True))
    verdict = verify(wanted, lambda _: io.BytesIO(archive(entries={"a": ""})), identity_only=True)
    assert errors(verdict) == [("ARTIFACT_DIGEST_MISMATCH", "artifacts[0].digest", DIGEST_PROBLEM)]


@cases("identity_only", [True, False])
def test_missing_bytes_of_the_older_profile(identity_only: bool) -> None:
    verdict = verify(of_older_profile(artifact("app", "jar", archive())), Store(), identity_only=identity_only)
    assert verdict.accepted is identity_only
    (finding,) = verdict.findings
    assert (finding.code, finding.message) == (
        ("ARTIFACT_IDENTITY_ONLY", "The bytes of this artifact are not stored: the release only identifies them")
        if identity_only
        else ("ARTIFACT_FILE_MISSING", "Release JAR artifact must point to a readable local file")
    )


# --- a contract that was uploaded with the descriptor ---


def test_an_uploaded_contract_is_that_of_the_carrier_byte_for_byte() -> None:
    carrier = archive()
    hosted = (artifact("app", "jar", carrier, hosts=True), carrier)
    assert released(hosted, contract_document=DATA) == Verdict((), NORMALISED, "app")
    verdict = released(hosted, contract_document=DATA + b" ")
    message = f"{NAMES_PROFILE}the uploaded contract differs from the one in app"
    assert errors(verdict) == [("CONTRACT_DOCUMENT_DIFFERS", "pipeline-contract.json", message)]


def test_an_uploaded_contract_of_the_older_profile_may_have_another_layout() -> None:
    jar = archive()
    verdict = verify(of_older_profile(artifact("app", "jar", jar)), Store(jar), DATA + b" ")
    assert (verdict.findings, verdict.contract) == ((), NORMALISED)
    other = json.dumps({**CONTRACT, "module": "m"}).encode()
    verdict = verify(of_older_profile(artifact("app", "jar", jar)), Store(jar), other)
    assert codes(verdict) == [("CONTRACT_DOCUMENT_DIFFERS", "pipeline-contract.json")]


def test_an_uploaded_contract_stands_in_for_a_carrier_without_bytes() -> None:
    wanted = descriptor(artifact("app", "jar", archive(), hosts=True))
    verdict = verify(wanted, Store(), DATA, identity_only=True)
    assert (verdict.accepted, verdict.contract) == (True, NORMALISED)
    assert [finding.code for finding in verdict.findings] == ["ARTIFACT_IDENTITY_ONLY"]
    assert not verify(wanted, Store(), DATA).accepted


def test_an_uploaded_contract_is_compared_with_all_archives_if_the_carrier_has_no_bytes() -> None:
    same, other = archive(entries={"x": ""}), archive(DATA + b" ")
    wanted = descriptor(
        artifact("app", "jar", b"absent", hosts=True), artifact("same", "jar", same), artifact("other", "jar", other)
    )
    verdict = verify(wanted, Store(same, other), DATA, identity_only=True)
    message = f"{NAMES_PROFILE}the uploaded contract differs from the one in other"
    assert errors(verdict) == [("CONTRACT_DOCUMENT_DIFFERS", "pipeline-contract.json", message)]
    assert verify(wanted, Store(same), DATA, identity_only=True).accepted


@cases(
    ("member", "code"), [("pipelineId", "CONTRACT_PIPELINE_MISMATCH"), ("contractVersion", "CONTRACT_VERSION_MISMATCH")]
)
def test_an_uploaded_contract_belongs_to_the_descriptor(member: str, code: str) -> None:
    wanted = descriptor(artifact("app", "jar", archive(), hosts=True))
    verdict = verify(wanted, Store(), json.dumps({**CONTRACT, member: "x"}).encode(), identity_only=True)
    assert codes(verdict) == [(code, f"pipeline-contract.json#{member}")]


def test_an_unreadable_uploaded_contract_is_rejected() -> None:
    carrier = archive()
    verdict = released((artifact("app", "jar", carrier, hosts=True), carrier), contract_document=b"[]")
    assert codes(verdict) == [("DOCUMENT_NOT_OBJECT", "pipeline-contract.json")]


# --- checkpoints ---


def requested(capabilities: bytes | str) -> Verdict:
    return with_carrier(archive(entries={CAPABILITIES_ENTRY: capabilities}))


def test_an_artifact_requests_checkpoints() -> None:
    listed = json.dumps(["other", CHECKPOINTS])
    assert requested(listed).checkpoints
    other = archive(None, {CAPABILITIES_ENTRY: listed})
    assert with_carrier(archive(), "jar", (artifact("other", "lambda-zip", other), other)).checkpoints
    assert not with_carrier(archive(), "jar").checkpoints


def test_a_rejected_release_requests_no_checkpoints() -> None:
    verdict = with_carrier(archive(b"{}", {CAPABILITIES_ENTRY: json.dumps([CHECKPOINTS])}))
    assert (verdict.accepted, verdict.checkpoints) == (False, False)


def _of_size(size: int) -> str:
    return json.dumps([CHECKPOINTS]).ljust(size)


def test_the_list_of_capabilities_has_a_largest_size() -> None:
    assert requested(_of_size(MAX_CAPABILITIES_BYTES)).checkpoints
    assert not requested(_of_size(MAX_CAPABILITIES_BYTES + 1)).checkpoints


@cases(
    "written",
    [
        b"",
        b"{",
        b"\xff",
        json.dumps(CHECKPOINTS),
        json.dumps({CHECKPOINTS: True}),
        json.dumps([[CHECKPOINTS]]),
        json.dumps([f"{CHECKPOINTS} "]),
        "null",
        "1" * 5000,
        "[" * 30_000,
        "[" * 30_000 + "]" * 30_000,
        f'["{CHECKPOINTS}"',
        "[1, null, {}, []]",
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


def test_hashing_a_folder_of_very_many_entries_costs_little_more_than_inspecting_them() -> None:
    names = [f"{FOLDER}{number:05}/{'n' * 100}" for number in range(65_000)]
    body = archive(None, dict.fromkeys(names, ""))
    assert seconds(content_of, body) < 3 * seconds(read_layout, body) + 1
    tracemalloc.start()
    content = content_of(io.BytesIO(body))
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (content.findings, list(content.truth)) == ((), names)
    assert kept < 40 * 1024**2
    assert peak < 100 * 1024**2


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
