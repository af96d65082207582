import copy
import json
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any

from tests.raising import error_of
from wire.findings import DocumentError, Finding

Document = dict[str, Any]
HEX = "0a" * 32
DIGEST, OTHER_DIGEST = f"sha256:{HEX}", "sha256:" + "0b" * 32
LONG = "x" * 501
DELETED = ...
_SEGMENT = re.compile(r'"(?:[^"\\]|\\.)*"|\w+')
NO_COMPOSITION: Document = {"rootDefinitionId": "", "definitions": []}
RELEASE = {"schemaVersion": 1, "pipelineId": "org.x", "contractVersion": "sha256:abc", "releaseVersion": "1.0"}


def changed(document: Document, field: str, value: Any) -> Document:
    """Return a copy in which `field`, such as `steps[0].kind`, has the value. DELETED removes it.

    The index after the last one of an array adds an item. Objects on the way are created.
    """
    *way, last = [json.loads(part if part[0] in '"0123456789' else f'"{part}"') for part in _SEGMENT.findall(field)]
    result = copy.deepcopy(document)
    place: Any = result
    for segment in way:
        place = place.setdefault(segment, {}) if isinstance(place, dict) else place[segment]
    if value is DELETED:
        del place[last]
    elif last == len(place) and isinstance(place, list):
        place.append(value)
    else:
        place[last] = value
    return result


def rows(table: Iterable[tuple[str, Any, Any]]) -> Iterator[tuple[str, Any, Any]]:
    for code, fields, values in table:
        for field in fields if isinstance(fields, tuple) else (fields,):
            yield from ((code, field, value) for value in values)


def encoded(document: Any) -> bytes:
    return json.dumps(document).encode()


def refused(parse: Callable[[bytes], object], data: Any) -> tuple[Finding, ...]:
    return error_of(DocumentError, parse, data if isinstance(data, bytes) else encoded(data)).findings


def findings_of(parse: Callable[[bytes], object], data: Any) -> list[tuple[str, str]]:
    """Return the code and the field of each finding, the field without the name of the document."""
    findings = refused(parse, data)
    assert len({finding.field.partition("#")[0] for finding in findings}) == 1, "all are about one document"
    return [(finding.code, finding.field.partition("#")[2]) for finding in findings]


def _step(index: int, **members: Any) -> Document:
    return {
        **{"index": index, "authoredName": "Validate", "kind": "internal", "cardinality": "ONE_TO_ONE"},
        **{"inputTypeId": "org.x.In", "outputTypeId": "org.x.Out"},
        **{"runtimeClass": "org.x.Svc", "clientClass": "org.x.Client", "awaitTransport": None},
        **members,
    }


CONTRACT: Document = {
    "schemaVersion": 2,
    "pipelineId": "org.x",
    "contractVersion": "sha256:abc",
    "contractHash": "abc",
    "platform": "COMPUTE",
    "transport": "REST",
    "module": "orders",
    "pluginHost": True,
    "runtimeLayout": "MONOLITH",
    "steps": [_step(0), _step(1, kind="await", outputTypeId=None, runtimeClass=None, awaitTransport="webhook")],
    "capabilities": {"localTransitionExecution": True, "transitionWorkerProtocols": ["local"]},
    "canonicalTypes": {"org.x.In": {"definition": {"id": "org.x.In", "kind": "record", "fields": []}}},
    "canonicalCatalogFingerprint": "f00d",
    "composition": NO_COMPOSITION,
}


def node(index: int, **members: Any) -> Document:
    return {
        **{"index": index, "nodeId": f"n{index}", "kind": "direct", "cardinality": "ONE_TO_ONE"},
        **{"inputContractId": "In", "outputContractId": "Out", "acceptedContractIds": ["In"]},
        **{"targetDefinitionId": "", "terminal": False},
        **members,
    }


def definition(name: str, nodes: list[Document], last: str = "RETURN") -> Document:
    ids = [node["nodeId"] for node in nodes]
    following = [{"nodeId": node_id, "kind": "NEXT_LOCAL", "nextNodeId": other} for node_id, other in pairwise(ids)]
    return {
        "definitionId": name,
        "definitionFingerprint": "f00d",
        "inputContractId": "In",
        "outputContractId": "Out",
        "nodes": nodes,
        "continuations": [*following, {"nodeId": nodes[-1]["nodeId"], "kind": last, "nextNodeId": ""}],
    }


def calling(index: int, target: str, **members: Any) -> Document:
    return node(index, kind="pipeline", targetDefinitionId=target, **members)


COMPOSED: Document = {
    **CONTRACT,
    "schemaVersion": 3,
    "composition": {
        "rootDefinitionId": "root",
        "definitions": [
            definition("root", [node(0), calling(1, "child")], "ROOT_TERMINAL"),
            definition("child", [calling(0, "child"), calling(1, "grandchild", terminal=True)]),
            definition("grandchild", [node(0)]),
        ],
    },
}
"""The root uses the child, which uses itself and the grandchild."""


def artifact(artifact_id: str, kind: str, uri: str, digest: str, steps: Iterable[str] = (), *more: str) -> Document:
    named = {"artifactId": artifact_id, "kind": kind, "uri": uri, "digest": digest}
    return {**named, "stepIds": [*steps], "capabilities": [*more]}


OLDER: Document = {
    **RELEASE,
    "artifacts": [
        artifact("app", "jar", "file:///app.jar", DIGEST, ["Validate"], "rest"),
        artifact("image", "container-image", "registry/app:1", OTHER_DIGEST),
    ],
}
"""A descriptor of the profile `tpf-2026-08`."""
NEWER: Document = {
    **RELEASE,
    "artifacts": [
        artifact("app", "jar", "maven:org.x:app:1.0", DIGEST, ["Validate", "Ship"], "local"),
        artifact("image", "container-image", f"oci://ghcr.io/acme/app@{OTHER_DIGEST}", OTHER_DIGEST, [], "rest"),
        artifact("truth", "compiled-truth", "file:///srv/truth.zip", DIGEST),
    ],
    "compiledTruthArtifactId": "truth",
}
"""A descriptor of the profile `tpf-2026-10`."""
