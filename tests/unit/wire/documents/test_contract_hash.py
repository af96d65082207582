"""The hash of a contract (wire protocol A.1.5)."""

import hashlib
import json
from typing import Any

import pytest

from tests.cases import cases
from wire.documents.contract import (
    canonical_catalog_fingerprint,
    contract_from_json,
    contract_hash,
    hash_findings,
    hash_input,
    publish,
)

VECTOR_INPUT = (
    '{"schemaVersion":1,"pipelineId":"org.x","platform":"COMPUTE","transport":"REST","pluginHost":false,'
    '"runtimeLayout":"MONOLITH","steps":[{"index":0,"authoredName":"Validate <Order>","kind":"internal",'
    '"cardinality":"ONE_TO_ONE","inputTypeId":"org.x.In","outputTypeId":"org.x.Out","runtimeClass":"org.x.Svc",'
    '"clientClass":"org.x.pipeline.ValidateRestClientStep"}],"canonicalTypes":{},"canonicalCatalogFingerprint":'
    '"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","capabilities":'
    '{"localTransitionExecution":true,"transitionWorkerProtocols":["local","rest","grpc","sqs"]}}'
)
VECTOR_HASH = "6009c40295c6bc55afedd38031ff97e1ab45d59eaab8fbe4c720d3d526e2a3b9"


@pytest.fixture
def vector() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(VECTOR_INPUT)
    return document


def shuffled(value: Any) -> Any:
    """Return the value with the members of each object in reverse order, as a store may return it."""
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(value)}
    return [shuffled(item) for item in value] if isinstance(value, list) else value


def test_the_vector_in_which_nulls_the_identity_members_and_the_order_do_not_count(vector: dict[str, Any]) -> None:
    assert hash_input(vector).decode() == VECTOR_INPUT
    assert contract_hash(vector) == VECTOR_HASH
    vector.update(module=None, composition=None, contractVersion="x", contractHash="y")
    vector["steps"][0]["awaitTransport"] = None
    assert hash_input(shuffled(vector)).decode() == VECTOR_INPUT


NEWER_INPUT = VECTOR_INPUT.replace('"schemaVersion":1', '"schemaVersion":3').replace(
    ',"capabilities":',
    ',"importedDefinitions":[{"a":{"c":[{"x":1,"y":2}],"d":"é"},"b":1},{}],"capabilityImports":[{"m":true,"n":[]}]'
    ',"capabilities":',
)
NEWER_HASH = "9b1f479c3a9408cb0f41d343496668c6bed955add418917b2d115542bf0fb4f1"


def test_the_vector_with_imports_which_stand_before_the_capabilities_with_sorted_keys(vector: dict[str, Any]) -> None:
    vector["schemaVersion"] = 3
    vector["capabilityImports"] = [{"n": [], "m": True, "o": None}]
    vector["importedDefinitions"] = [{"b": 1, "a": {"d": "é", "c": [{"y": 2, "x": 1}]}}, {}]
    assert hash_input(vector).decode() == NEWER_INPUT
    assert contract_hash(vector) == contract_hash(shuffled(vector)) == NEWER_HASH
    assert hash_findings(publish(vector)) == []


@cases(
    "change",
    [
        *({"pipelineId": "org.y"}, {"module": "m"}, {"pluginHost": True}, {"canonicalTypes": {"T": {}}}),
        *({"steps": []}, {"steps": [{"deferredCompletion": {}}]}),
        *({"importedDefinitions": [{}]}, {"capabilityImports": [{}]}),
        {"capabilities": {"localTransitionExecution": False, "transitionWorkerProtocols": []}},
    ],
)
def test_every_hashed_member_changes_the_hash(vector: dict[str, Any], change: dict[str, Any]) -> None:
    assert contract_hash({**vector, **change}) != VECTOR_HASH


def test_the_published_document_has_the_identity_after_the_pipeline(vector: dict[str, Any]) -> None:
    published = publish({**shuffled(vector), "module": None, "contractVersion": "stale"})
    assert list(published)[:4] == ["schemaVersion", "pipelineId", "contractVersion", "contractHash"]
    assert published["contractHash"] == VECTOR_HASH
    assert published["contractVersion"] == f"sha256:{VECTOR_HASH}"
    assert "module" not in published
    assert contract_hash(published) == VECTOR_HASH
    assert hash_findings(published) == []
    assert contract_from_json(published).contract_hash == VECTOR_HASH


def test_the_fingerprint_is_over_sorted_keys_in_utf16_order() -> None:
    first, second = "\U0001f600", "\uffee"  # by code point the other way round
    types = {second: {"b": 1, "a": 2}, first: {}}
    text = f'{{"{first}":{{}},"{second}":{{"a":2,"b":1}}}}'
    assert canonical_catalog_fingerprint(types) == hashlib.sha256(text.encode()).hexdigest()
