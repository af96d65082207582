"""Documents that keep every rule, for tests to break one at a time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from wire.findings import DocumentError


def _change(document: dict[str, Any], path: tuple[Any, ...]) -> None:
    *way, last, value = path
    place: Any = document
    for segment in way:
        place = place[segment]
    if value is ...:
        del place[last]
    elif last == "append":
        place.append(value)
    else:
        place[last] = value


@pytest.fixture
def change() -> Callable[[dict[str, Any], tuple[Any, ...]], None]:
    """Sets the member at path[:-1] to path[-1]; `...` deletes it, and the name "append" adds to an array."""
    return _change


def _findings_of(parse: Callable[[bytes], object], data: bytes) -> list[tuple[str, str]]:
    with pytest.raises(DocumentError) as caught:
        parse(data)
    return [(finding.code, finding.field) for finding in caught.value.findings]


@pytest.fixture
def findings_of() -> Callable[[Callable[[bytes], object], bytes], list[tuple[str, str]]]:
    """Parses what must be refused and returns each finding's code and field."""
    return _findings_of


@pytest.fixture
def contract_document() -> dict[str, Any]:
    """A version 2 contract with every member."""
    return {
        "schemaVersion": 2,
        "pipelineId": "org.x",
        "contractVersion": "sha256:abc",
        "contractHash": "abc",
        "platform": "COMPUTE",
        "transport": "REST",
        "module": "orders",
        "pluginHost": True,
        "runtimeLayout": "MONOLITH",
        "steps": [
            {
                "index": 0,
                "authoredName": "Validate",
                "kind": "internal",
                "cardinality": "ONE_TO_ONE",
                "inputTypeId": "org.x.In",
                "outputTypeId": "org.x.Out",
                "runtimeClass": "org.x.Svc",
                "clientClass": "org.x.Client",
                "awaitTransport": None,
            },
            {
                "index": 1,
                "authoredName": "Await",
                "kind": "await",
                "cardinality": "ONE_TO_MANY",
                "inputTypeId": "org.x.Out",
                "outputTypeId": None,
                "runtimeClass": None,
                "clientClass": None,
                "awaitTransport": "webhook",
            },
        ],
        "capabilities": {"localTransitionExecution": True, "transitionWorkerProtocols": ["local"]},
        "canonicalTypes": {"org.x.In": {"definition": {"id": "org.x.In", "kind": "record", "fields": []}}},
        "canonicalCatalogFingerprint": "f00d",
        "composition": {"rootDefinitionId": "", "definitions": []},
    }


def _node(index: int, **members: Any) -> dict[str, Any]:
    return {
        "index": index,
        "nodeId": f"n{index}",
        "kind": "direct",
        "inputContractId": "In",
        "outputContractId": "Out",
        "cardinality": "ONE_TO_ONE",
        "targetDefinitionId": "",
        "acceptedContractIds": ["In"],
        "terminal": False,
        **members,
    }


def _definition(name: str, nodes: list[dict[str, Any]], last: str) -> dict[str, Any]:
    following = [
        {"nodeId": node["nodeId"], "kind": "NEXT_LOCAL", "nextNodeId": after["nodeId"]}
        for node, after in pairwise(nodes)
    ]
    return {
        "definitionId": name,
        "definitionFingerprint": "f00d",
        "inputContractId": "In",
        "outputContractId": "Out",
        "nodes": nodes,
        "continuations": [*following, {"nodeId": nodes[-1]["nodeId"], "kind": last, "nextNodeId": ""}],
    }


@pytest.fixture
def composed_document(contract_document: dict[str, Any]) -> dict[str, Any]:
    """A version 3 contract: root uses child, child uses itself and grandchild."""
    child_nodes = [
        _node(0, kind="pipeline", targetDefinitionId="child"),
        _node(1, kind="pipeline", targetDefinitionId="grandchild", terminal=True),
    ]
    root_nodes = [_node(0), _node(1, kind="pipeline", targetDefinitionId="child")]
    contract_document["schemaVersion"] = 3
    contract_document["composition"] = {
        "rootDefinitionId": "root",
        "definitions": [
            _definition("root", root_nodes, "ROOT_TERMINAL"),
            _definition("child", child_nodes, "RETURN"),
            _definition("grandchild", [_node(0)], "RETURN"),
        ],
    }
    return contract_document


@pytest.fixture
def descriptor_document() -> dict[str, Any]:
    """A descriptor of one JAR and one container image, with every member."""
    return {
        "schemaVersion": 1,
        "pipelineId": "org.x",
        "contractVersion": "sha256:abc",
        "releaseVersion": "1.0",
        "artifacts": [
            {
                "artifactId": "app",
                "kind": "jar",
                "uri": "file:///app.jar",
                "digest": "sha256:" + "0a" * 32,
                "stepIds": ["Validate"],
                "capabilities": ["rest"],
            },
            {
                "artifactId": "image",
                "kind": "container-image",
                "uri": "registry/app:1",
                "digest": "sha256:" + "0b" * 32,
                "stepIds": [],
                "capabilities": [],
            },
        ],
    }
