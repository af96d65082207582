"""Compares pipelines with releases in tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.authoring.definition import Pipeline


def assert_compatible(released: str | Path | Mapping[str, Any], pipeline: Pipeline) -> None:
    """Raise ``AssertionError`` if a difference between a released contract and this pipeline is breaking.

    ``released`` is a release (its folder or its ``pipeline-release.json``), an artifact, or a contract (a file or its
    JSON). The error has the lines of ``pipelines diff``, which explain what breaks for callers or for parked work.

    Raises ``DefinitionError``: FILE_UNREADABLE, INVALID_RELEASE, and those of ``build``.
    """
    from pipelines.authoring.compiler import compile_contract
    from pipelines.release.verify_release import released_contract
    from wire.comparison.comparison import compare_contracts
    from wire.comparison.differences import described
    from wire.documents.contract import contract_from_json

    __tracebackhide__ = True
    old = contract_from_json(released) if isinstance(released, Mapping) else released_contract(Path(released))
    differences = compare_contracts(old, contract_from_json(compile_contract(pipeline)))
    if any(difference.is_breaking for difference in differences):
        raise AssertionError(f"{pipeline.pipeline_id} is not compatible with the release:\n{described(differences)}")
