"""Loads a pipeline, compiles it to its contract, and collects what it declares besides."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from types import ModuleType
from typing import Any

from pipelines.authoring import places
from pipelines.authoring.branches import Branching
from pipelines.authoring.definition import Part, Pipeline
from pipelines.authoring.misuse import loading
from pipelines.authoring.plan import Plan, plan
from pipelines.authoring.planned_step import PlannedBranching, PlannedStep
from pipelines.authoring.waits import Await
from pipelines.errors import DefinitionError
from wire.documents.contract import canonical_catalog_fingerprint, publish


def load(reference: str) -> Pipeline:
    """Import the module of ``reference``, written as MODULE:NAME, and return its pipeline of that name.

    Raises ``DefinitionError``: INVALID_REFERENCE, MODULE_NOT_FOUND, MODULE_FAILED, NAME_NOT_FOUND, NOT_A_PIPELINE,
    DUPLICATE_PIPELINE_ID. If the pipeline's definition has a mistake, the error contains all of its mistakes.
    """
    module_name, colon, name = reference.partition(":")
    parts = module_name.split(".")
    if not colon or not name.isidentifier() or parts[-1] == "py" or not all(part.isidentifier() for part in parts):
        raise DefinitionError(
            "INVALID_REFERENCE",
            f"{reference!r} is not a pipeline reference; write MODULE:NAME, such as acme.payments:pipeline",
        )
    module = import_module(module_name)
    if not hasattr(module, name):
        raise DefinitionError("NAME_NOT_FOUND", f"module {module_name} has no {name!r}; {_pipelines_in(module)}")
    pipeline = getattr(module, name)
    if not isinstance(pipeline, Pipeline):
        raise DefinitionError(
            "NOT_A_PIPELINE", f"{reference} is a {type(pipeline).__name__}, not a Pipeline; {_pipelines_in(module)}"
        )
    _check_unique(pipeline)
    if pipeline.mistakes:
        plan(pipeline)
    return pipeline


def _check_unique(pipeline: Pipeline) -> None:
    """Raise ``DefinitionError`` DUPLICATE_PIPELINE_ID if another pipeline of its module has the same id."""
    values = list(vars(sys.modules[pipeline.module]).values()) if pipeline.module in sys.modules else []
    others = [value for value in values if isinstance(value, Pipeline) and value is not pipeline]
    for other in others:
        if (other.module, other.pipeline_id) == (pipeline.module, pipeline.pipeline_id):
            raise DefinitionError(
                "DUPLICATE_PIPELINE_ID",
                f"{other.place} defines another pipeline with the id {pipeline.pipeline_id!r}; a coordinator could not "
                "distinguish them, give one of them another id",
                pipeline.place,
            )


def reference_of(pipeline: Pipeline) -> str:
    """Return the reference of a pipeline, MODULE:NAME: the first name in its module that stands for it.

    Raises ``DefinitionError`` NAME_NOT_FOUND if its module has no such name.
    """
    module = sys.modules[pipeline.module]
    names = sorted(name for name, value in vars(module).items() if value is pipeline)
    if not names:
        raise DefinitionError(
            "NAME_NOT_FOUND",
            f"module {pipeline.module} has no name for the pipeline {pipeline.pipeline_id}; assign it to one",
        )
    return f"{pipeline.module}:{names[0]}"


def import_module(name: str) -> ModuleType:
    """Import an author's module. Its pipelines collect the mistakes of their steps, and `plan` reports all of them.

    Raises ``DefinitionError``: MODULE_NOT_FOUND, MODULE_FAILED.
    """
    try:
        with loading():
            return importlib.import_module(name)
    except DefinitionError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise DefinitionError(
                "MODULE_NOT_FOUND",
                f"there is no module {error.name}; run from the folder that holds it, or set PYTHONPATH",
            ) from error
        raise _failed(name, error) from error
    except (Exception, SystemExit) as error:
        raise _failed(name, error) from error


def _failed(name: str, error: BaseException) -> DefinitionError:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    message = f"module {name} cannot be imported: {type(error).__name__}: {text}"
    if isinstance(error, ModuleNotFoundError):
        message += "; install it into this environment, or correct its name"
    return DefinitionError("MODULE_FAILED", message, places.of_exception(error))


def _pipelines_in(module: object) -> str:
    names = sorted(name for name, value in vars(module).items() if isinstance(value, Pipeline))
    return f"it defines the pipelines {', '.join(names)}" if names else "it defines no pipeline"


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
        "capabilities": {"localTransitionExecution": False, "transitionWorkerProtocols": ["celery", "rest"]},
    }


def _step(step: PlannedStep) -> dict[str, Any]:
    members: dict[str, Any] = {
        "index": step.index,
        "authoredName": step.name,
        "kind": "internal" if step.waits is None else "await",
        "cardinality": str(step.cardinality),
        "inputTypeId": step.input.type_id,
        "outputTypeId": step.output.type_id,
    }
    if step.function is not None:
        members["runtimeClass"] = _class_of(step)
    if step.waits is not None:
        members["awaitTransport"] = step.waits.transport
        if step.waits.child is not None:
            members |= step.waits.child.members
    if step.answered is not None:
        members["takesRequest"] = True
    if step.condition is not None:
        members["condition"] = _class_of(step.condition)
    if step.branching is not None:
        members["branching"] = _branching(step.branching)
    return members


def _branching(branching: PlannedBranching) -> dict[str, Any]:
    branches = [
        {"name": name, "runtimeClass": _class_of(branch), "outputTypeId": branch.output.type_id}
        for name, branch in branching.branches.items()
    ]
    route = {} if branching.route is None else {"route": _class_of(branching.route)}
    return {"kind": branching.kind, **route, "branches": branches}


def _class_of(step: PlannedStep) -> str:
    function: Any = step.function
    return f"{function.__module__}.{function.__qualname__}"


def declarations(pipeline: Pipeline, *, described: bool = True) -> dict[str, dict[str, Any]]:
    """Return what a pipeline declares besides its contract: the members of `declarations.json`, without empty ones.

    Without ``described``, it is that of builds before the fields of its questions had descriptions. Raises as ``plan``.
    """
    members: dict[str, dict[str, Any]] = {
        "search": pipeline.search,
        "steps": {part.name: declared for part in pipeline.parts if (declared := _declared(part))},
        "concurrency": pipeline.concurrency.declaration if pipeline.concurrency is not None else {},
    }
    if pipeline.config or pipeline.secrets:
        from pipelines.authoring.step_settings import declared_types  # most workers do not need it

        members |= declared_types(pipeline.config, pipeline.secrets)
    if described and any(isinstance(part, Await) and part.asks for part in pipeline.parts):
        from pipelines.authoring.described_fields import described_types  # only questions need it

        members["types"] = described_types(pipeline)
    return {name: member for name, member in members.items() if member}


def _declared(part: Part) -> dict[str, Any]:
    if isinstance(part, Await):
        return {}
    if isinstance(part, Branching):
        return part.declared()
    return part.policy.declared() | (part.items.declared() if part.items is not None else {})
