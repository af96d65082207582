"""Collects what a pipeline declares besides its contract, for the entry `declarations.json` of its artifact."""

from __future__ import annotations

from typing import Any

from pipelines.authoring.branches import Branching
from pipelines.authoring.definition import Part, Pipeline
from pipelines.authoring.step_settings import KINDS
from pipelines.authoring.waits import Await
from wire.documents.step_settings import SECRET


def declarations(pipeline: Pipeline) -> dict[str, dict[str, Any]]:
    """Return the members of the entry, without empty ones. Each part of the language adds one line."""
    members: dict[str, dict[str, Any]] = {
        "search": pipeline.search,
        "steps": {part.name: found for part in pipeline.parts if (found := _declared(part))},
        "concurrency": pipeline.concurrency.declaration if pipeline.concurrency is not None else {},
        "config": {name: KINDS[kind] for name, kind in pipeline.config.items()},
        "secrets": dict.fromkeys(pipeline.secrets, SECRET),
    }
    return {name: member for name, member in members.items() if member}


def _declared(part: Part) -> dict[str, Any]:
    if isinstance(part, Await):
        return {}
    if isinstance(part, Branching):
        return part.declared()
    return part.policy.declared() | (part.items.declared() if part.items is not None else {})
