"""Collects what a pipeline declares besides its contract, for the entry `declarations.json` of its artifact."""

from __future__ import annotations

from typing import Any, TypeGuard

from pipelines.authoring.definition import Pipeline, Step
from pipelines.authoring.step_settings import KINDS
from pipelines.authoring.waits import Await
from pipelines.step_policy import NO_POLICY
from wire.documents.step_settings import SECRET


def declarations(pipeline: Pipeline) -> dict[str, dict[str, Any]]:
    """Return the members of the entry, without empty ones. Each part of the language adds one line."""
    members: dict[str, dict[str, Any]] = {
        "search": pipeline.search,
        "steps": {part.name: _declared(part) for part in pipeline.parts if _declares(part)},
        "concurrency": pipeline.concurrency.declaration if pipeline.concurrency is not None else {},
        "config": {name: KINDS[kind] for name, kind in pipeline.config.items()},
        "secrets": dict.fromkeys(pipeline.secrets, SECRET),
    }
    return {name: member for name, member in members.items() if member}


def _declares(part: Step | Await) -> TypeGuard[Step]:
    return isinstance(part, Step) and (part.policy is not NO_POLICY or part.items is not None)


def _declared(step: Step) -> dict[str, Any]:
    return step.policy.declared() | (step.items.declared() if step.items is not None else {})
