"""The page that answers which exact code ran an execution, and the download of the signed answer."""

from typing import Any

from django.http import Http404, HttpResponse

from executions.lifecycle import queries
from executions.models import Execution
from releases.trust import statement_key
from wire.documents.execution_statement import ENVELOPE_MEDIA_TYPE
from wire.documents.signing import key_id

RUNS_SHOWN = 200
STEPS_NAMED = 5
ENDS = {
    "SUCCEEDED": "finished the execution",
    "FAILED": "failed, and no retry could help",
    "RETRY_SCHEDULED": "failed, and a retry followed",
    "RETRIES_EXHAUSTED": "failed, and no retries were left",
    "AWAITING": "reached an await",
    "CHECKPOINT": "reached a checkpoint",
    "OUTCOME_DROPPED": "reported too late, so its outcome was dropped",
    "LEASE_EXPIRED": "lost its lease without a report",
    "LEASES_LOST": "lost its lease without a report, once too often",
    "LEASE_RESTORED": "had the part when the outcome of an earlier run arrived",
    "CANCELLED": "had the part when the execution was cancelled",
    "RELEASE_REVOKED": "had the part when the release was revoked and its executions were failed",
}
"""The outcome of a part, by the event that ended it."""


def shown(execution: Execution) -> dict[str, Any]:
    """Return the context of the page."""
    found = queries.runs_of_execution(execution)
    runs = found.entries[:RUNS_SHOWN]
    return {
        "execution": execution,
        "runs": [{**run, "sentence": sentence(run)} for run in runs],
        "more_runs": len(found.entries) - len(runs) + found.omitted,
        "artifacts": list(execution.release.artifacts.order_by("position")),
        "key_id": key_id(statement_key.public_key()) if statement_key.is_configured() else "",
    }


def sentence(run: dict[str, Any]) -> str:
    """Return one sentence about a part: who ran which steps with which code."""
    worker = f"Worker {run['worker']}" if run["worker"] else "A worker that did not name itself"
    if "NOT_REPORTED" in run["findings"]:
        registered = f" It had registered with artifact {run['artifactDigest']}." if run["artifactDigest"] else ""
        return f"{worker} {ENDS[run['outcome']]}. Which code ran is unknown.{registered}"
    return f"{worker} ran {_steps(run['steps'])} with {_code(run)}, and {ENDS[run['outcome']]}."


def _steps(steps: list[dict[str, Any]]) -> str:
    if not steps:
        return "this part"
    names = [step["name"] or f"step {step['index'] + 1}" for step in steps]
    more = f" and {len(names) - STEPS_NAMED} more" if len(names) > STEPS_NAMED else ""
    return ", ".join(names[:STEPS_NAMED]) + more


def _code(run: dict[str, Any]) -> str:
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


def download(execution: Execution) -> HttpResponse:
    """Download the signed document. Without a key, the document does not exist."""
    if not statement_key.is_configured():
        raise Http404
    headers = {"Content-Disposition": f'attachment; filename="{queries.provenance_file_name(execution)}"'}
    return HttpResponse(queries.signed_provenance(execution), content_type=ENVELOPE_MEDIA_TYPE, headers=headers)
