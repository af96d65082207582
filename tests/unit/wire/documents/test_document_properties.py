"""Properties of all documents and of all sequences of bytes."""

from __future__ import annotations

import io
import json
import unicodedata
import zipfile
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wire.documents.examples import NO_COMPOSITION
from wire.archive.reader import read_contract_entry
from wire.documents.canonical_types import mismatches
from wire.documents.contract import contract_from_json, contract_hash, hash_findings, parse_contract, publish
from wire.documents.descriptor import KINDS, Profile, parse_descriptor
from wire.documents.json_reader import read_object
from wire.findings import DocumentError, Finding
from wire.identifying import is_identifier

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
filled = text.filter(lambda value: bool(value.strip()))
visible = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)
identity = visible.map(lambda value: unicodedata.normalize("NFC", value)).filter(is_identifier)
segment = identity.map(lambda value: value.replace("/", "-"))
named = st.none() | st.just("") | identity
optional = st.none() | text
int32 = st.integers(-(2**31), 2**31 - 1)
scalars = st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
solid = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3))
json_values = st.recursive(
    st.none() | scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
)

steps = st.fixed_dictionaries(
    {
        "index": int32,
        "kind": text,
        **dict.fromkeys(["authoredName", "cardinality", "inputTypeId", "outputTypeId"], named),
        **dict.fromkeys(["runtimeClass", "clientClass", "awaitTransport"], named),
    },
    optional={"deferredCompletion": st.dictionaries(text, solid, max_size=2)},
)
contracts = st.fixed_dictionaries(
    {
        "schemaVersion": st.integers(1, 3),
        "pipelineId": segment,
        "contractVersion": segment,
        "contractHash": filled,
        **dict.fromkeys(["platform", "transport", "module", "runtimeLayout"], optional),
        "pluginHost": st.booleans(),
        "steps": st.lists(steps, max_size=3),
        "capabilities": st.fixed_dictionaries(
            {"localTransitionExecution": st.booleans(), "transitionWorkerProtocols": st.lists(text, max_size=3)}
        ),
        "canonicalTypes": st.dictionaries(text, st.dictionaries(text, solid, max_size=3), max_size=3),
        "canonicalCatalogFingerprint": text,
        "composition": st.just(NO_COMPOSITION),
    }
)
imports = st.lists(st.dictionaries(text, solid, max_size=2), min_size=1, max_size=2)
importing = st.builds(
    lambda contract, more: {**contract, "schemaVersion": 3, **more},
    contracts,
    st.fixed_dictionaries({}, optional={"importedDefinitions": imports, "capabilityImports": imports}),
)
artifacts = st.fixed_dictionaries(
    {
        "artifactId": identity,
        "kind": st.sampled_from([kind.value for kind in KINDS[Profile.TPF_2026_08]]),
        "uri": identity,
        "digest": st.binary(min_size=32, max_size=32).map(lambda digest: f"sha256:{digest.hex()}"),
        "stepIds": st.lists(identity, max_size=3),
        "capabilities": st.lists(identity, max_size=3),
    }
)
descriptors = st.fixed_dictionaries(
    {
        "schemaVersion": st.just(1),
        **dict.fromkeys(["pipelineId", "contractVersion", "releaseVersion"], segment),
        "artifacts": st.lists(artifacts, min_size=1, max_size=3),
    }
)


@given(contracts | importing, st.booleans())
def test_a_normalised_contract_parses_to_itself_and_a_published_one_has_its_hash(document: Any, escaped: bool) -> None:
    contract = parse_contract(json.dumps(document, ensure_ascii=escaped).encode())
    assert contract.normalised() == document
    assert contract_from_json(document) == contract
    published = json.dumps(publish(document), indent=2).encode()
    assert parse_contract(published).contract_hash == contract_hash(document)
    assert hash_findings(read_object(published, name="contract", limit=10**6)) == []


@given(descriptors)
def test_a_normalised_descriptor_parses_to_itself(document: dict[str, Any]) -> None:
    descriptor = parse_descriptor(json.dumps(document).encode())
    assert descriptor.normalised() == document
    assert descriptor.warnings == ()


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_reading_raises_nothing_but_document_errors_with_storable_findings(data: bytes) -> None:
    for parse in (parse_contract, parse_descriptor):
        for finding in refusal(parse, data):
            assert Finding.from_json(json.loads(json.dumps(finding.to_json()).encode())) == finding
            assert "\0" not in finding.field + finding.message
            (finding.field + finding.message).encode()


def refusal(read: Callable[[bytes], object], data: bytes) -> tuple[Finding, ...]:
    """Return the findings about `data`; none if it is accepted."""
    try:
        read(data)
    except DocumentError as error:
        return error.findings or (Finding("NOTHING_FOUND", "", "\0"),)
    return ()


MEMBERS = [*("steps", "capabilities", "canonicalTypes", "composition"), *("importedDefinitions", "capabilityImports")]


@given(contracts, st.sampled_from(MEMBERS), json_values)
def test_any_value_in_place_of_a_part_is_read_or_refused(document: dict[str, Any], member: str, value: Any) -> None:
    document[member] = value
    data = json.dumps(document).encode()
    if not refusal(parse_contract, data):
        contract = parse_contract(data)
        assert contract_from_json(contract.normalised()) == contract


@given(st.dictionaries(st.sampled_from("abc"), json_values, max_size=3), json_values)
def test_mismatches_raise_nothing(types: dict[str, Any], value: Any) -> None:
    mismatches(types, "a", value)
    mismatches({name: {"definition": entry} for name, entry in types.items()}, "a", value)


@given(st.binary(max_size=60), st.integers(0, 400), st.binary(min_size=1, max_size=8))
def test_a_damaged_archive_is_read_or_refused(prefix: bytes, at: int, noise: bytes) -> None:
    sound = _ARCHIVE[: at % len(_ARCHIVE)] + noise + _ARCHIVE[at % len(_ARCHIVE) + len(noise) :]
    findings = refusal(lambda data: read_contract_entry(io.BytesIO(data)), prefix + sound)
    assert all(finding.code.startswith("ARCHIVE_") for finding in findings)


def _archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a", b"body" * 9)
        file.writestr("META-INF/pipeline/pipeline-contract.json", b'{"schemaVersion": 1}')
    return buffer.getvalue()


_ARCHIVE = _archive()
