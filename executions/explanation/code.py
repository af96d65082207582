"""Which code ran a part of an execution, in words. The parts are those of `wire.documents.execution_runs`."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from releases.step_names import Step

STEPS_NAMED: Final = 5
ENDS: Final = {
    "SUCCEEDED": "finished the execution",
    "FAILED": "failed, and no retry could help",
    "RETRY_SCHEDULED": "failed, and a retry followed",
    "RETRIES_EXHAUSTED": "failed, and no retries were left",
    "AWAITING": "reached a step that waits",
    "CHECKPOINT": "reached a checkpoint",
    "OUTCOME_DROPPED": "reported too late, so its outcome was dropped",
    "LEASE_EXPIRED": "lost its lease without a report",
    "LEASES_LOST": "lost its lease without a report, once too often",
    "LEASE_RESTORED": "had the part when the outcome of an earlier run arrived",
    "CANCELLED": "had the part when the execution was cancelled",
    "RELEASE_REVOKED": "had the part when the release was revoked and its executions were failed",
}
"""The outcome of a part, by the event that ended it."""

Run = Mapping[str, Any]


def sentence_of(run: Run) -> str:
    """Return one sentence about a part: who ran which steps with which code."""
    worker = f"Worker {run['worker']}" if run["worker"] else "A worker that did not name itself"
    if "NOT_REPORTED" in run["findings"]:
        registered = f" It had registered with artifact {run['artifactDigest']}." if run["artifactDigest"] else ""
        return f"{worker} {ENDS[run['outcome']]}. Which code ran is unknown.{registered}"
    return f"{worker} ran {_named(_steps(run))} with {_code(run)}{_library(run)}, and {ENDS[run['outcome']]}."


def sentences_of(runs: Iterable[Run]) -> list[str]:
    """Return a sentence for each code that ran, with its environment, its workers and its steps. The first is first."""
    places: dict[tuple[str, str], tuple[dict[str, None], dict[str, None]]] = {}
    for run in runs:
        if "NOT_REPORTED" in run["findings"]:
            places.setdefault((sentence_of(run), ""), ({}, {}))
            continue
        inside = f", in environment {run['environment']}" if run["environment"] else ""
        steps, workers = places.setdefault((_code(run), f"{inside}{_library(run)}"), ({}, {}))
        steps.update(dict.fromkeys(_steps(run)))
        workers.update(dict.fromkeys([str(run["worker"] or "one that did not name itself")]))
    return [_summary(*key, list(steps), list(workers)) for key, (steps, workers) in places.items()]


def _summary(code: str, environment: str, steps: list[str], workers: list[str]) -> str:
    if not workers:
        return code
    return f"Ran {_named(steps)} with {code}{environment}, on worker {_named(workers)}."


def _library(run: Run) -> str:
    return f", with durable-pipelines {run['durablePipelines']}" if run["durablePipelines"] else ""


def _steps(run: Run) -> list[str]:
    return [Step(step["index"], step["name"]).title for step in run["steps"]]


def _named(names: list[str]) -> str:
    more = f" and {len(names) - STEPS_NAMED} more" if len(names) > STEPS_NAMED else ""
    return ", ".join(names[:STEPS_NAMED]) + more if names else "this part"


def _code(run: Run) -> str:
    digest = run["artifactDigest"]
    if not digest:
        return "code that it did not identify"
    if not run["pinned"]:
        return f"the code of artifact {digest}, which the release does not pin"
    if "CODE_NOT_VERIFIED" in run["findings"]:
        return f"code from a folder that builds to artifact {digest}"
    if "ARTIFACT_AS_REGISTERED" in run["findings"]:
        return f"code that it did not identify; it is registered with artifact {digest}, which the release pins"
    return f"the code of artifact {digest}, which the release pins"
