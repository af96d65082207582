"""Hosts an artifact in a separate process, because a process that hosts one is restricted permanently."""

import base64
import functools
import hashlib
import json
import os
import shutil
import sys
import tempfile
import venv
import zipfile
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path
from textwrap import indent
from typing import Any

from embedded.product import PROJECT
from pipelines.release.descriptor import release
from tests.building import build
from tests.programs import output_of
from tests.words import words

FLOW = """
from shop import at_import
from pipelines import Pipeline

pipeline = Pipeline("tests.shop")

@pipeline.step
def work(number: int) -> str:
    from shop.in_step import act
    return act()
"""
IN_STEP = """
def act():
{body}
    return "done"
"""
HOST = """
import dataclasses, json, os, sys
from pathlib import Path
from pipelines import StepContext
from pipelines.errors import DefinitionError
from pipelines.worker.hosted_release import host_artifact

code, *descriptors = sys.argv[1:]

def ran(hosted):
    names = [field.name for field in dataclasses.fields(StepContext) if field.default is dataclasses.MISSING]
    context = StepContext(**{name: 0 if name == "attempt" else "x" for name in names})
    return hosted.run(1, start=0, stop=-1, context=lambda: context)

def shown(result):
    return {name: getattr(result, name) for name in result.__slots__}

def host(descriptor):
    try:
        hosted = host_artifact(descriptor, "acme", allow_drift=True)
        print(json.dumps({**shown(ran(hosted)), "must_stop": hosted.must_stop}))
        exec(code)
    except DefinitionError as error:
        print(json.dumps({"code": error.code, "message": error.message}))

for descriptor in map(Path, descriptors):
    if not os.fork():
        host(descriptor)
        sys.exit()
    assert os.wait()[1] == 0
    print(json.dumps("end"))
    sys.stdout.flush()
"""
"""Hosts each descriptor in a fork. Prints the result of the only step, or the error, as JSON; then runs the code."""


NEEDED = words("annotated-types packaging pydantic pydantic-core typing-extensions typing-inspection")


class Environment:
    def __init__(self, folder: Path) -> None:
        venv.create(folder, symlinks=True)
        self.python = folder / "bin/python"
        [self.packages] = folder.glob("lib/python*/site-packages")
        for name in NEEDED:
            for file in distribution(name).files or ():
                if ".." not in file.parts and "__pycache__" not in file.parts:
                    target = self.packages / file
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(str(file.locate()), target)

    def install(self, name: str, files: dict[str, str]) -> None:
        lines = []
        for file, text in files.items():
            (self.packages / file).write_text(text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
            lines.append(f"{file},sha256={digest},{len(text)}\n")
        metadata = self.packages / f"{name}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "RECORD").write_text("".join(lines))


@functools.cache
def _shop() -> dict[str, bytes]:
    """Return the entries of the artifact of the pipeline above."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source/shop")
        source.mkdir(parents=True)
        contents = {"flow.py": FLOW, "__init__.py": "", "at_import.py": "", "in_step.py": IN_STEP.format(body="")}
        for name, text in contents.items():
            (source / name).write_text(text)
        built = build("shop.flow:pipeline", source.parent, Path(folder, "built"), "1.0")
        with zipfile.ZipFile(built.artifact) as archive:
            return {name: archive.read(name) for name in archive.namelist()}


def packed(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write a release of the pipeline above, with further files or other contents. Return its descriptor."""
    artifact = folder / "dist/tests.shop.zip"
    artifact.parent.mkdir(parents=True)
    with zipfile.ZipFile(artifact, "w") as archive:
        for name, content in {**_shop(), **files}.items():
            archive.writestr(name, content)
    return release(artifact.parent, [artifact], release_version="1.0").path


def at_import(code: str) -> dict[str, str]:
    return {"shop/at_import.py": code}


def in_step(code: str) -> dict[str, str]:
    return {"shop/in_step.py": IN_STEP.format(body=indent(code, "    "))}


def hosted_each(
    *descriptors: Path,
    then: str = "",
    python: str | Path = sys.executable,
    folder: Path | None = None,
    **environment: str,
) -> list[list[dict[str, Any]]]:
    """Host each release in a separate process, and return what each prints.

    `then` is code that runs in each process after its step.
    """
    path = os.pathsep.join([str(PROJECT), *filter(None, [environment.pop("PYTHONPATH", "")])])
    command = [python, "-c", HOST, then, *(descriptor.absolute() for descriptor in descriptors)]
    lines = output_of(command, folder or descriptors[0].parent, {"PYTHONPATH": path, **environment}, seconds=120)
    printed: list[list[dict[str, Any]]] = [[]]
    for line in lines.splitlines():
        value = json.loads(line)
        if value == "end":
            printed.append([])
        else:
            printed[-1].append(value)
    return printed[:-1]


def hosted(descriptor: Path, **options: Any) -> list[dict[str, Any]]:
    [printed] = hosted_each(descriptor, **options)
    return printed
