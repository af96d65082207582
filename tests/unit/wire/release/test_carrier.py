"""One artifact carries the contract, and the others agree with it (profile `tpf-2026-10`, rule 1)."""

import io
import json
from typing import Any

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
    newer,
)
from wire.documents.contract import CAPABILITIES_ENTRY, CONTRACT_ENTRY, LOCK_ENTRY, PYTHON_ENTRY
from wire.documents.descriptor import CHECKPOINTS, NAMES_PROFILE
from wire.release.content import MAX_CAPABILITIES_BYTES
from wire.release.verification import Verdict, verify

FOLDER = "META-INF/pipeline/"
CARRIERS = ["jar", "application-archive", "lambda-zip", "compiled-truth"]
TREE = {f"{FOLDER}openapi.json": "{}", f"{FOLDER}types/order.json": "[]"}
FIRST, SECOND, UPLOADED = "artifacts[0]", "artifacts[1]", "pipeline-contract.json"
PLAIN = archive()
HOSTED = (artifact("app", "jar", PLAIN, hosts=True), PLAIN)
PYTHON = json.dumps({"implementation": "cpython", "version": "3", "platform": "any"})
OF_ONE_ARTIFACT = {PYTHON_ENTRY: PYTHON, LOCK_ENTRY: "attrs==1", CAPABILITIES_ENTRY: "[]"}


def with_carrier(body: bytes, kind: str = "application-archive", *others: Bodies, **options: object) -> Verdict:
    """Verify a release whose carrier `app` hosts everything, or only carries if it is of kind compiled-truth."""
    hosts = kind != "compiled-truth"
    host = () if hosts else ((artifact("host", "native-binary", b"\x7fELF", hosts=True), b"\x7fELF"),)
    return carried((artifact("app", kind, body, hosts=hosts), body), *host, *others, **options)


def beside(body: bytes, kind: str = "jar", carrier: bytes | None = None) -> Verdict:
    """Verify a release whose carrier is followed by another artifact."""
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


@cases(
    ("contract", "code"),
    [
        (altered(scope=1), "CONTRACT_UNKNOWN_MEMBER"),
        (altered(pipelineId="x"), "ARTIFACT_PIPELINE_MISMATCH"),
        (altered(contractVersion="x"), "ARTIFACT_CONTRACT_VERSION_MISMATCH"),
    ],
)
def test_the_contract_of_the_carrier_is_valid_and_belongs_to_the_descriptor(contract: bytes, code: str) -> None:
    verdict = with_carrier(archive(contract))
    assert {code for code, _ in codes(verdict)} == {code}
    assert all(finding.message.startswith(NAMES_PROFILE) for finding in verdict.findings)


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
        {CONTRACT_ENTRY: DATA},
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
        ({CONTRACT_ENTRY: DATA + b" "}, "CONTRACT_DIFFERS_FROM_CARRIER"),
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
def test_an_artifact_requests_checkpoints_in_a_small_list_and_any_other_list_nothing(
    written: str, checkpoints: bool
) -> None:
    verdict = with_carrier(archive(entries={CAPABILITIES_ENTRY: written}))
    assert (verdict.findings, verdict.checkpoints) == ((), checkpoints)
