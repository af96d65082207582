"""Collects what a pipeline declares besides its contract, for the entry `declarations.json` of its artifact."""

from __future__ import annotations

from typing import Any

from pipelines.authoring.definition import Pipeline


def declarations(pipeline: Pipeline) -> dict[str, dict[str, Any]]:
    """Return the members of the entry. Each part of the language adds one line; an empty member is not written."""
    return {
        "search": pipeline.search,
    }
