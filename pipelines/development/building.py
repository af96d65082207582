"""Builds a pipeline in a separate process, which imports the saved files."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipelines.development.hosting import PIPELINES
from pipelines.development.terminal import Terminal, counted

_FACTS: Final = '{"pipelineId": '
"""How the JSON of ``pipelines build`` begins."""


@dataclass(frozen=True, slots=True)
class Built:
    """What ``pipelines build`` printed."""

    pipeline_id: str
    digest: str
    steps: int
    artifact: Path
    sources: tuple[str, ...]


def build(reference: str, out: Path, environment: Mapping[str, str], terminal: Terminal) -> Built | None:
    """Build a pipeline into the folder ``out``. Return None after errors, which the process has printed to stderr."""
    with terminal.timed("built") as say:
        done = subprocess.run(
            [*PIPELINES, "build", reference, "--out", str(out), "--json"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C reaches this process first, which then kills the build
            check=False,
        )
        before, begin, rest = done.stdout.rpartition(_FACTS)
        facts, end = json.JSONDecoder().raw_decode(begin + rest) if begin else ({}, 0)
        for line in filter(None, [*before.splitlines(), *(begin + rest)[end:].splitlines()]):  # of the author's modules
            terminal.line(line)
        if done.returncode or not facts:
            return None
        built = Built(
            facts["pipelineId"], facts["digest"], facts["steps"], Path(facts["path"]), tuple(facts["sources"])
        )
        say(f"{built.pipeline_id}: {counted(built.steps, 'step')}, {counted(len(built.sources), 'file')}")
    return built
