"""What each member of the contract and of the descriptor means, by its model.

The pages and the JSON schemas in `docs/reference` are generated from it.
"""

from collections.abc import Mapping
from typing import Final

MEANINGS: Final[Mapping[str, Mapping[str, str]]] = {
    "Contract": {
        "schemaVersion": "The form of the document. A composition and imports need 3.",
        "pipelineId": "The id of the pipeline.",
        "contractVersion": "The version of the contract. By convention, it is `sha256:` and the hash.",
        "contractHash": "The hash of the document. Another hash is a warning.",
        "platform": "Where the pipeline runs, such as `COMPUTE` or `FUNCTION`.",
        "transport": "How workers are called, such as `REST`, `GRPC` or `LOCAL`.",
        "module": "The module of the application.",
        "pluginHost": "True if the application hosts plug-ins.",
        "runtimeLayout": "How the application is divided, such as `MONOLITH`.",
        "steps": "The steps in their order.",
        "capabilities": "Who may run the steps.",
        "canonicalTypes": "The types of the pipeline by their names. No value inside may be null.",
        "canonicalCatalogFingerprint": "The SHA-256 of `canonicalTypes` with sorted keys, in hex.",
        "composition": "The pipelines that this one is composed of.",
        "importedDefinitions": "Definitions of other applications. They are stored and not interpreted.",
        "capabilityImports": "Capabilities of other applications. They are stored and not interpreted.",
    },
    "Step": {
        "index": "The position of the step, from 0.",
        "authoredName": "The name that the author gave to the step.",
        "kind": "`internal`, `await`, or another kind, such as `command` or `query`.",
        "cardinality": "How many values one call takes and gives: `ONE_TO_ONE`, `ONE_TO_MANY` or `EXPANSION`, "
        "`MANY_TO_ONE` or `REDUCTION`, or `MANY_TO_MANY`.",
        "inputTypeId": "The type of a value that the step takes.",
        "outputTypeId": "The type of a value that the step gives.",
        "runtimeClass": "The function or class that runs.",
        "clientClass": "The class through which other modules call it.",
        "awaitTransport": "Where the answer to an await comes from: `interaction-api`, `webhook`, `timer`, "
        "`pipeline` or others.",
        "deferredCompletion": "How the step ends later, by an answer. It replaces `awaitTransport` in newer builds.",
        "takesRequest": "True if the step takes the request of the await before it together with the answer.",
        "branching": "The functions of a step that has several.",
        "condition": "The function that decides whether an await asks.",
        "callsPipeline": "The pipeline that an await over the transport `pipeline` calls.",
        "callsRelease": "The release that it calls. Null for the one that is active at the time of the call.",
    },
    "Capabilities": {
        "localTransitionExecution": "True if the coordinator's own process may run steps.",
        "transitionWorkerProtocols": "The protocols of workers that may run steps.",
    },
    "Branching": {
        "kind": "`gather` if all branches run, `choose` if one does.",
        "route": "The function that chooses a branch.",
        "branches": "The branches.",
    },
    "Branch": {
        "name": "The member of the output of a `gather`, or what the route of a `choose` returns.",
        "runtimeClass": "The function that runs.",
        "outputTypeId": "The type of a value that it gives.",
    },
    "Composition": {
        "rootDefinitionId": "The definition that an execution begins with.",
        "definitions": "The root and the definitions that it uses.",
    },
    "Definition": {
        "definitionId": "The id, unique in the contract.",
        "definitionFingerprint": "The hash of the definition.",
        "inputContractId": "The type that the definition takes.",
        "outputContractId": "The type that the definition gives.",
        "nodes": "The nodes in their order.",
        "continuations": "What follows each node, in the same order.",
    },
    "Node": {
        "index": "The position of the node, from 0.",
        "nodeId": "The id, unique in the definition.",
        "kind": "`direct` for a step, `pipeline` for another definition.",
        "inputContractId": "The type that the node takes.",
        "outputContractId": "The type that the node gives.",
        "cardinality": "How many values one call takes and gives.",
        "targetDefinitionId": "The definition that a node of kind `pipeline` stands for.",
        "acceptedContractIds": "Further types that the node takes.",
        "terminal": "True if the execution ends at the node.",
    },
    "Continuation": {
        "nodeId": "The node at the same position.",
        "kind": "`NEXT_LOCAL` before the last node. At the end, `ROOT_TERMINAL` in the root and `RETURN` elsewhere.",
        "nextNodeId": "The node that follows.",
    },
    "Descriptor": {
        "schemaVersion": "The form of the document.",
        "pipelineId": "The id of the pipeline.",
        "contractVersion": "The version of the contract that the release implements.",
        "releaseVersion": "The version of the release, unique in the pipeline.",
        "artifacts": "The artifacts that the release pins. At least one.",
        "compiledTruthArtifactId": "The artifact that carries the contract. Only in the profile `tpf-2026-10`.",
    },
    "ArtifactRef": {
        "artifactId": "The id of the artifact, unique in the release.",
        "kind": "What the artifact is.",
        "uri": "Where the artifact is.",
        "digest": "`sha256:` and the SHA-256 of the artifact in lower-case hex.",
        "stepIds": "The steps that the artifact hosts.",
        "capabilities": "The capabilities that the artifact has, such as `checkpoint-each-step`.",
    },
}
