"""Imports a pipeline by its reference, MODULE:NAME."""

from __future__ import annotations

import importlib
import importlib.util
import sys

from pipelines.authoring.definition import Pipeline, loading
from pipelines.authoring.plan import plan
from pipelines.errors import DefinitionError


def load(reference: str) -> Pipeline:
    """Import the module of ``reference``, written as MODULE:NAME, and return its pipeline of that name.

    Raises ``DefinitionError``: INVALID_REFERENCE, MODULE_NOT_FOUND, MODULE_FAILED, NAME_NOT_FOUND, NOT_A_PIPELINE. If
    the pipeline's definition has a mistake, the error contains all of its mistakes.
    """
    module_name, colon, name = reference.partition(":")
    parts = module_name.split(".")
    if not colon or not name.isidentifier() or parts[-1] == "py" or not all(part.isidentifier() for part in parts):
        raise DefinitionError(
            "INVALID_REFERENCE",
            f"{reference!r} is not a pipeline reference; write MODULE:NAME, such as acme.payments:pipeline",
        )
    module = _import(module_name)
    if not hasattr(module, name):
        raise DefinitionError(
            "NAME_NOT_FOUND",
            f"module {module_name} has no {name!r}; {_pipelines_in(module)}",
        )
    found = getattr(module, name)
    if not isinstance(found, Pipeline):
        raise DefinitionError(
            "NOT_A_PIPELINE",
            f"{reference} is a {type(found).__name__}, not a Pipeline; {_pipelines_in(module)}",
        )
    if found.mistakes:
        plan(found)
    return found


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


def _import(name: str) -> object:
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
    return DefinitionError(
        "MODULE_FAILED",
        f"module {name} cannot be imported: {type(error).__name__}: {error}",
    )


def _pipelines_in(module: object) -> str:
    names = sorted(name for name, value in vars(module).items() if isinstance(value, Pipeline))
    return f"it defines the pipelines {', '.join(names)}" if names else "it defines no pipeline"
