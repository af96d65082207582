"""``pipelines new``: write the project of a new pipeline."""

from __future__ import annotations

import argparse
import importlib.util
import keyword
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Final

from pipelines.environment import OWN
from pipelines.errors import DefinitionError

_TEMPLATE: Final = Path(__file__).parents[1] / "project_template"
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*(\.[A-Za-z][A-Za-z0-9_-]*)*")
_LONGEST: Final = 100


def add(parser: argparse.ArgumentParser) -> None:
    text = "the id of the pipeline, such as orders or org.acme.orders; its last part names the folder and the module"
    parser.add_argument("name", metavar="NAME", help=text)
    parser.set_defaults(run=_new)


def _new(arguments: argparse.Namespace) -> int:
    """Write the project. Refuses a folder that has files."""
    project = _project_in(arguments.name)
    module = project.replace("-", "_").lower()
    folder = Path(project)
    values = {
        "MODULE": module,
        "PIPELINE_ID": arguments.name,
        "PROJECT": project,
        "PYTHON": ".".join(map(str, sys.version_info[:2])),
        "VERSION": version(OWN),
    }
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise DefinitionError("FOLDER_NOT_EMPTY", f"{folder.absolute()} exists; choose another name, or remove it")
        _require_usable(arguments.name, module)
        folder.mkdir(exist_ok=True)
        for template in sorted(_TEMPLATE.glob("*-tpl")):
            name = _filled(template.name.removesuffix("-tpl"), values)
            target = folder / (f".{name}" if name == "gitignore" else name)
            target.write_text(_filled(template.read_text(encoding="utf-8"), values), encoding="utf-8")
    except OSError as error:
        raise DefinitionError("OUT_DIR_UNWRITABLE", f"cannot write {folder.absolute()}: {error.strerror}") from error
    print(f"Wrote {folder}/ with the pipeline {arguments.name}. Try it:")
    print(f"  cd {folder}\n  pipelines run {module}.py --input order.json\n  pytest")
    return 0


def _project_in(name: str) -> str:
    if len(name) > _LONGEST or not _NAME.fullmatch(name):
        raise DefinitionError(
            "INVALID_PIPELINE_ID",
            f"{name!r} cannot name a project; use at most {_LONGEST} letters, digits, '-' and '_', with a letter first "
            "and dots between parts, such as orders or org.acme.orders",
        )
    return name.rpartition(".")[2]


def _require_usable(name: str, module: str) -> None:
    """Raise MODULE_SHADOWED if the name of the module means something else: to Python, pytest or another package."""
    taken = None if keyword.iskeyword(module) else importlib.util.find_spec(module)
    if keyword.iskeyword(module) or module.startswith("test_") or (taken is not None and taken.origin is not None):
        raise DefinitionError(
            "MODULE_SHADOWED",
            f"{name!r} makes the module {module}, which means something else here; choose another name, such as "
            f"{name}-pipeline",
        )


def _filled(text: str, values: dict[str, str]) -> str:
    return re.sub("|".join(values), lambda match: values[match[0]], text)
