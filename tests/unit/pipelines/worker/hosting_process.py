"""Hosts an artifact in a separate process, because a process that hosts one is restricted permanently."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from textwrap import indent
from typing import Any

from embedded.product import PROJECT
from pipelines.release.descriptor import release
from tests.building import build

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
import dataclasses, json, sys
from pathlib import Path
from pipelines import StepContext
from pipelines.errors import DefinitionError
from pipelines.worker.hosted_release import host_artifact

def ran(hosted):
    names = [field.name for field in dataclasses.fields(StepContext) if field.default is dataclasses.MISSING]
    context = StepContext(**{name: 0 if name == "attempt" else "x" for name in names})
    return hosted.run(1, start=0, stop=-1, context=context)

def shown(result):
    return {name: getattr(result, name) for name in result.__slots__}

descriptor = Path(sys.argv[1]).absolute()
try:
    hosted = host_artifact(descriptor, "acme", allow_drift=True)
    print(json.dumps({**shown(ran(hosted)), "must_stop": hosted.must_stop}))
    if len(sys.argv) > 2:
        exec(sys.argv[2])
except DefinitionError as error:
    print(json.dumps({"code": error.code, "message": error.message}))
"""
"""Prints the result of the only step, or the error, as JSON. A second argument is code that runs afterwards."""


def packed(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write a release of the pipeline above, with further files or other contents. Return its descriptor."""
    source = folder / "source"
    contents = {"flow.py": FLOW, "__init__.py": "", "at_import.py": "", "in_step.py": IN_STEP.format(body="")}
    for name, text in contents.items():
        (source / "shop").mkdir(parents=True, exist_ok=True)
        (source / "shop" / name).write_text(text)
    built = build("shop.flow:pipeline", source, folder / "built", "1.0")
    with zipfile.ZipFile(built.artifact) as archive:
        entries: dict[str, str | bytes] = {name: archive.read(name) for name in archive.namelist()}
    target = folder / "dist" / built.artifact.name
    target.parent.mkdir()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in {**entries, **files}.items():
            archive.writestr(name, content)
    return release(target.parent, [target], release_version="1.0").path


def at_import(code: str) -> dict[str, str]:
    """Return the file of a pipeline that runs `code` when it is imported."""
    return {"shop/at_import.py": code}


def in_step(code: str) -> dict[str, str]:
    """Return the file of a pipeline that runs `code` in its step."""
    return {"shop/in_step.py": IN_STEP.format(body=indent(code, "    "))}


def hosted(
    descriptor: Path,
    *arguments: str,
    python: str | Path = sys.executable,
    before: str = "",
    folder: Path | None = None,
    **environment: str,
) -> list[dict[str, Any]]:
    """Host the release in a new process and return what it prints. `before` is code that runs first."""
    path = os.pathsep.join([str(PROJECT), *filter(None, [environment.pop("PYTHONPATH", "")])])
    done = subprocess.run(
        [python, "-c", before + HOST, descriptor, *arguments],
        cwd=folder or descriptor.parent,
        env={"PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
