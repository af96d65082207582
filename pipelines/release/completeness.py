"""Checks that an artifact contains all local code that its pipeline imports, and that this is the code that runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from pipelines.authoring.definition import Pipeline
from pipelines.authoring.plan import plan
from pipelines.environment.shadowing import shadowed_modules, top_level_modules
from pipelines.errors import DefinitionError, raise_all
from pipelines.release.local_imports import Unpacked, module_of, unpacked_modules


def require_complete(pipeline: Pipeline, sources: Mapping[str, Path], loaded: Collection[str] = ()) -> None:
    """Raise ``DefinitionError`` for local code that is not packed, and for packed code that another module hides.

    ``sources`` are the packed files by the names of their entries. ``loaded`` are the modules that the import of the
    pipeline has loaded. Each error about code that is not packed names the ``packages`` that correct all of them.

    Errors: STEP_NOT_PACKED, MODULE_NOT_PACKED, MODULE_SHADOWED, MODULE_FAILED, SOURCE_UNREADABLE.
    """
    packed = {module_of(entry) for entry in sources}
    modules = {step.function.__module__: step.name for step in plan(pipeline).steps if step.function is not None}
    steps = {module: name for module, name in modules.items() if module not in packed}
    unpacked = unpacked_modules([pipeline.module, *modules], sources, loaded)
    local = {each.name for each in unpacked}
    # A step in an installed package is packed with the whole package, because a package is in one place only.
    missing = local | {module.partition(".")[0] for module in steps if module not in local}
    correction = f"set packages={_packages(pipeline.packages, missing)!r} of the Pipeline"
    raise_all(
        [
            *shadowed_modules(top_level_modules(sources)),
            *(_step_error(name, module, pipeline, correction) for module, name in steps.items()),
            *(_module_error(each, correction) for each in unpacked if each.name not in steps),
        ]
    )


def _packages(present: Iterable[str], missing: Collection[str]) -> tuple[str, ...]:
    """Return the packages to pack. A missing module needs no mention if one of its parent packages is missing too."""
    top = [name for name in sorted(missing) if not any(parent in missing for parent in _parents(name))]
    return tuple(dict.fromkeys((*present, *top)))


def _parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[:end]) for end in range(1, len(parts)))


def _step_error(name: str, module: str, pipeline: Pipeline, correction: str) -> DefinitionError:
    text = f'step "{name}" is in module {module}, outside of the package of {pipeline.module}; {correction}'
    return DefinitionError("STEP_NOT_PACKED", text)


def _module_error(each: Unpacked, correction: str) -> DefinitionError:
    reason = "not packed, but a part of its package is" if each.is_installed else "neither packed nor installed"
    text = f"{each.importer} imports {each.name} from {each.file}, which is {reason}; {correction}"
    return DefinitionError("MODULE_NOT_PACKED", text)
