"""The start of a worker from its artifact, compared with one from source."""

import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.plan import Plan
from benchmarks.report import Measure, Report
from embedded.children import ChildError
from embedded.product import PROJECT
from wire.worker_keys import worker_key

REFERENCE = "examples.payments.pipeline:pipeline"
PAIRS = 5
"""How often each is started in a round, in turn."""
STARTED = "Hosting "
"""What a worker logs once it has loaded its code and before it connects to the broker."""


def startup(report: Report, plan: Plan) -> None:
    with TemporaryDirectory(prefix="startup-") as folder:
        _pipelines("release", REFERENCE, f"--out={folder}", "--release-version=1")
        release = Path(folder) / "1" / "pipeline-release.json"
        _seconds(release), _seconds(release, f"--from-source={REFERENCE}")  # warm up the page cache
        ours, theirs = [], []
        for _ in range(plan.rounds * PAIRS):
            ours.append(_seconds(release))
            theirs.append(_seconds(release, f"--from-source={REFERENCE}"))
    report.say(f"startup: {', '.join(f'{seconds:.2f}' for seconds in ours)} s from the artifact")
    report.say(f"startup: {', '.join(f'{seconds:.2f}' for seconds in theirs)} s from source")
    report.add(Measure("startup of a worker : from source", ours, theirs, "s", 1.5, "at most"))


def _environment() -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(PROJECT),
        "PIPELINES_TENANT": "acme",
        "PIPELINES_BROKER_URL": "redis://127.0.0.1:1/0",
        "PIPELINES_WORKER_KEY": worker_key("a secret", "acme").text,
    }


def _pipelines(*arguments: str) -> None:
    command = [sys.executable, "-m", "pipelines", *arguments]
    done = subprocess.run(command, cwd=PROJECT, env=_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise ChildError(done.stderr)


def _seconds(release: Path, *options: str) -> float:
    """Start a worker and return how long it takes until it has loaded its code. Raises `ChildError` if it ends."""
    command = [sys.executable, "-m", "pipelines", "worker", f"--release={release}", *options]
    began = time.perf_counter()
    with subprocess.Popen(command, cwd=PROJECT, env=_environment(), stderr=subprocess.PIPE, text=True) as worker:
        lines = []
        for line in worker.stderr or ():
            lines.append(line)
            if STARTED in line:
                seconds = time.perf_counter() - began
                worker.terminate()
                return seconds
    raise ChildError("".join(lines))
