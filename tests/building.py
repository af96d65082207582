"""What needs no Django: building a release as its author would, and waiting for something to be so."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from coordinator.local.product import PROJECT

T = TypeVar("T")


def eventually(probe: Callable[[], T | None], *, seconds: float = 30, what: str = "it") -> T:
    """The first true thing that `probe` gives; fails the test after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = probe()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen within {seconds} s")


@dataclass(frozen=True)
class BuiltRelease:
    """A pipeline that was built and released by the author's own commands."""

    reference: str
    directory: Path
    descriptor: Path
    artifact: Path
    document: dict[str, Any]

    @property
    def pipeline_id(self) -> str:
        return str(self.document["pipelineId"])

    @property
    def version(self) -> str:
        return str(self.document["releaseVersion"])


def build(reference: str, directory: Path, out: Path, version: str) -> BuiltRelease:
    """`python -m pipelines build` and `release`, as an author would run them in `directory`."""
    for command in (["build", reference], ["release", f"--release-version={version}"]):
        done = subprocess.run(
            [sys.executable, "-m", "pipelines", *command, f"--out={out}"],
            cwd=directory,
            env={"PYTHONPATH": str(PROJECT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    descriptor = out / "pipeline-release.json"
    [artifact] = out.glob("*.zip")
    return BuiltRelease(reference, directory, descriptor, artifact, json.loads(descriptor.read_text()))
