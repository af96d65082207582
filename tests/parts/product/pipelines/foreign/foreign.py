"""A pipeline whose step imports a module from a folder, and continues without it if that fails."""

import contextlib
import importlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from pipelines import Pipeline


@dataclass
class Task:
    folder: str = ""
    gate: str = ""


pipeline = Pipeline("tests.foreign")


@pipeline.step
def work(task: Task) -> str:
    if task.folder:
        sys.path.insert(0, task.folder)
        with contextlib.suppress(ImportError):
            importlib.import_module("stranger")
    while task.gate and not Path(task.gate).exists():
        time.sleep(0.05)
    return "done"
