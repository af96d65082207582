"""Documents that keep every rule, for tests to break one at a time."""

from __future__ import annotations

from typing import Any

import pytest


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
        for node, after in zip(nodes, nodes[1:], strict=False)
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
