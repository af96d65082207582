"""Compiles a pipeline to its contract document (wire protocol A.1)."""

from __future__ import annotations

import json
from typing import Any

from pipelines.authoring.definition import Pipeline
from pipelines.authoring.plan import Plan, PlannedStep, plan
from pipelines.errors import DefinitionError
from wire.documents.contract import canonical_catalog_fingerprint, publish


def compile_contract(pipeline: Pipeline, *, constraints: bool = True) -> dict[str, Any]:
    """Return the contract as a JSON object, with ``contractVersion`` and ``contractHash``.

    It depends only on the pipeline's id, module, steps and types, and on the code that validates their values. A change
    in the body of a step does not change it. Without ``constraints``, it is that of builds before its types had them.
    Raises ``DefinitionError`` for all mistakes that ``plan`` finds, and STEP_NOT_IMPORTABLE for a pipeline that is
    defined in ``__main__``.
    """
    if pipeline.module == "__main__":
        raise DefinitionError(
            "STEP_NOT_IMPORTABLE",
            f"pipeline {pipeline.pipeline_id} is defined in __main__; put it in a module and build MODULE:NAME",
        )
    planned = plan(pipeline, constraints=constraints)
    return publish(_document(pipeline, planned))


def contract_text(contract: dict[str, Any]) -> str:
    """Return the contract as indented JSON text, as it is packed. Equal contracts have equal texts."""
    return json.dumps(contract, indent=2, ensure_ascii=False) + "\n"


def _document(pipeline: Pipeline, planned: Plan) -> dict[str, Any]:
    canonical_types = planned.catalogue.canonical_types()
    return {
        "schemaVersion": 2 if canonical_types else 1,
        "pipelineId": pipeline.pipeline_id,
        "platform": "COMPUTE",
        "transport": "LOCAL",
        "module": pipeline.module,
        "pluginHost": False,
        "runtimeLayout": "MONOLITH",
        "steps": [_step(step) for step in planned.steps],
        "canonicalTypes": canonical_types,
        "canonicalCatalogFingerprint": canonical_catalog_fingerprint(canonical_types),
        "capabilities": {
            "localTransitionExecution": False,
            "transitionWorkerProtocols": ["celery", "rest"],
        },
    }


def _step(step: PlannedStep) -> dict[str, Any]:
    members: dict[str, Any] = {
        "index": step.index,
        "authoredName": step.name,
        "kind": step.kind,
        "cardinality": str(step.cardinality),
        "inputTypeId": step.input.type_id,
        "outputTypeId": step.output.type_id,
    }
    if step.runtime_class is not None:
        members["runtimeClass"] = step.runtime_class
    if step.waits is not None:
        members["awaitTransport"] = step.waits.transport
    return members
