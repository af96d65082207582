"""The provenance of an execution: an in-toto Statement v1 that says which code ran each part of it. Pure.

The coordinator builds the statement from its records and signs it. `pipelines verify-provenance` reads it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from wire.documents.execution_runs import RunFinding, Runs, instant
from wire.documents.json_reader import Dialect, read_object
from wire.documents.shape import ArrayOrNull, Document, RequiredText, shape
from wire.findings import DocumentError

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "urn:durable-coordinator:predicate:execution-provenance:v1"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
"""The payload type of the envelope."""
ENVELOPE_MEDIA_TYPE: Final = "application/vnd.dsse.envelope.v1+json"
CANONICAL_JSON: Final = "urn:durable-coordinator:canonical-json:v1"
"""The form of JSON values whose SHA-256 the statement contains: see `wire.documents.json_values.canonical`."""
NAME: Final = "provenance"
MAX_BYTES: Final = 16 * 1024**2
"""How long a statement may be that is read."""
MOST_VALUES: Final = 500_000
RELEASE_NAME: Final = "pipeline-release.json"

_DOUBTS = frozenset({RunFinding.NOT_REPORTED, RunFinding.CODE_NOT_VERIFIED, RunFinding.ARTIFACT_AS_REGISTERED})
_HEX = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


# --- writing --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Execution:
    """What the predicate says about an execution besides its parts. Digests are SHA-256 in hex, of canonical JSON.

    `finished_at` and `result_digest` are None if the execution has not finished, or has no result.
    """

    execution_id: str
    tenant: str
    key: str
    status: str
    events: int
    submitted_at: datetime
    finished_at: datetime | None
    input_digest: str
    result_digest: str | None


@dataclass(frozen=True, slots=True)
class Pin:
    """The release that an execution is pinned to. `artifacts` are pairs of an artifact's id and its digest."""

    pipeline_id: str
    contract_version: str
    release_version: str
    release_digest: str
    artifacts: Sequence[tuple[str, str]]

    @property
    def digests(self) -> frozenset[str]:
        return frozenset(digest for _, digest in self.artifacts)


def build(execution: Execution, pin: Pin, runs: Runs, awaits: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the statement. Equal arguments give equal statements."""
    return {
        "_type": STATEMENT_TYPE,
        "subject": _subjects(pin, runs),
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "execution": {
                "executionId": execution.execution_id,
                "tenant": execution.tenant,
                "idempotencyKeyDigest": _sha256(hashlib.sha256(execution.key.encode()).hexdigest()),
                "status": execution.status,
                "finished": execution.finished_at is not None,
                "eventCount": execution.events,
                "submittedAt": instant(execution.submitted_at),
                "finishedAt": None if execution.finished_at is None else instant(execution.finished_at),
                "inputDigest": _sha256(execution.input_digest),
                "resultDigest": None if execution.result_digest is None else _sha256(execution.result_digest),
            },
            "pin": {
                "pipelineId": pin.pipeline_id,
                "contractVersion": pin.contract_version,
                "releaseVersion": pin.release_version,
                "releaseDigest": _sha256(pin.release_digest),
                "artifacts": [{"artifactId": artifact_id, "digest": digest} for artifact_id, digest in pin.artifacts],
            },
            "canonicalJson": CANONICAL_JSON,
            "pinnedThroughout": is_pinned_throughout(runs),
            "runs": runs.entries,
            "omittedRuns": runs.omitted,
            "awaits": list(awaits),
        },
    }


def is_pinned_throughout(runs: Runs) -> bool:
    """Return True if a worker reported each part with the artifact that it loaded, and the release pins them all."""
    return not runs.omitted and all(each["pinned"] and proves_code(each) for each in runs.entries)


def proves_code(run: Mapping[str, Any]) -> bool:
    """Return True if a worker reported the part with the artifact that it loaded its code from."""
    return run["artifactDigest"] is not None and _DOUBTS.isdisjoint(run["findings"])


def _subjects(pin: Pin, runs: Runs) -> list[dict[str, Any]]:
    """Return the artifacts that ran, as reported. A statement needs a subject, so without any it is the release."""
    names = {digest: artifact_id for artifact_id, digest in reversed(pin.artifacts)}
    reported = {
        each["artifactDigest"]
        for each in runs.entries
        if each["artifactDigest"] is not None and RunFinding.NOT_REPORTED not in each["findings"]
    }
    subjects = [
        {
            "name": names.get(digest, "an artifact that the release does not pin"),
            "digest": _sha256(digest.removeprefix("sha256:")),
            "annotations": {"pinned": digest in names},
        }
        for digest in sorted(reported)
        if _DIGEST.fullmatch(digest)
    ]
    return subjects or [{"name": RELEASE_NAME, "digest": _sha256(pin.release_digest)}]


def _sha256(digest: str) -> dict[str, str]:
    return {"sha256": digest}


# --- reading --------------------------------------------------------------------------------------

_DIALECT = Dialect(
    name=NAME,
    code="PROVENANCE",
    preamble="Not the provenance of an execution: ",
    verbatim=frozenset({"PROVENANCE_UNSUPPORTED", "PROVENANCE_DIGEST_MALFORMED"}),
)


def _only(value: str) -> AfterValidator:
    def check(found: str) -> str:
        if found != value:
            raise PydanticCustomError("PROVENANCE_UNSUPPORTED", f"Only {value} is supported")
        return found

    return AfterValidator(check)


def _hexadecimal(found: str) -> str:
    if not _HEX.fullmatch(found):
        raise PydanticCustomError("PROVENANCE_DIGEST_MALFORMED", "This is not a SHA-256 in lower-case hex")
    return found


class Digest(Document):
    sha256: Annotated[RequiredText, AfterValidator(_hexadecimal)]


class Annotations(Document):
    pinned: bool


class Subject(Document):
    name: RequiredText
    digest: Digest
    annotations: Annotations | None = None


class AboutExecution(Document):
    execution_id: RequiredText
    tenant: RequiredText
    idempotency_key_digest: Digest
    status: RequiredText
    finished: bool
    event_count: int
    submitted_at: RequiredText
    finished_at: str | None
    input_digest: Digest
    result_digest: Digest | None


class PinnedArtifact(Document):
    artifact_id: RequiredText
    digest: RequiredText


class AboutPin(Document):
    pipeline_id: RequiredText
    contract_version: RequiredText
    release_version: RequiredText
    release_digest: Digest
    artifacts: Annotated[tuple[PinnedArtifact, ...], ArrayOrNull]


class StepRun(Document):
    index: int
    name: str | None
    started_at: str | None
    ended_at: str | None


class Run(Document):
    """One part of the execution, as its worker reported it."""

    sequence: int
    outcome: RequiredText
    attempt: int | None
    worker: str | None
    artifact_digest: str | None
    pinned: bool
    code: str | None
    environment: str | None
    first_step_index: int | None
    claimed_at: str | None
    recorded_at: RequiredText
    started_at: str | None
    ended_at: str | None
    steps: Annotated[tuple[StepRun, ...], ArrayOrNull]
    findings: Annotated[tuple[str, ...], ArrayOrNull]

    @property
    def proves_code(self) -> bool:
        """True if a worker reported the part with the artifact that it loaded its code from."""
        return proves_code(self.normalised())


class Answer(Document):
    """An answered interaction of an await. `actor` answered it."""

    interaction_id: RequiredText
    actor: str | None
    answered_at: str | None


class Await(Document):
    """An await of the execution. `answers` has the first ones, `answered` is the number of all."""

    step_index: int
    step_id: RequiredText
    status: RequiredText
    opened_at: RequiredText
    items: int
    answered: int
    answers: Annotated[tuple[Answer, ...], ArrayOrNull]


class Predicate(Document):
    execution: AboutExecution
    pin: AboutPin
    canonical_json: Annotated[RequiredText, _only(CANONICAL_JSON)]
    pinned_throughout: bool
    runs: Annotated[tuple[Run, ...], ArrayOrNull]
    omitted_runs: int
    awaits: Annotated[tuple[Await, ...], ArrayOrNull]


class Statement(Document):
    """The provenance of one execution."""

    type_: Annotated[RequiredText, _only(STATEMENT_TYPE)] = Field(alias="_type")
    subject: Annotated[tuple[Subject, ...], ArrayOrNull]
    predicate_type: Annotated[RequiredText, _only(PREDICATE_TYPE)]
    predicate: Predicate

    def contradictions(self) -> list[str]:
        """Return how the statement contradicts itself. The coordinator writes none that does."""
        predicate = self.predicate
        digests = frozenset(each.digest for each in predicate.pin.artifacts)
        pin = Pin(
            predicate.pin.pipeline_id,
            predicate.pin.contract_version,
            predicate.pin.release_version,
            predicate.pin.release_digest.sha256,
            [(each.artifact_id, each.digest) for each in predicate.pin.artifacts],
        )
        runs = Runs([each.normalised() for each in predicate.runs], predicate.omitted_runs)
        found = [
            f"run {each.sequence} says pinned={each.pinned}, which its artifact contradicts"
            for each in predicate.runs
            if each.pinned != (each.artifact_digest in digests)
        ]
        if predicate.pinned_throughout != is_pinned_throughout(runs):
            found.append("pinnedThroughout contradicts the runs")
        if [each.model_dump(mode="json", by_alias=True, exclude_none=True) for each in self.subject] != _subjects(
            pin, runs
        ):
            found.append("the subjects are not the artifacts that the runs name")
        return found


def read(payload: bytes) -> Statement:
    """Return the statement in the payload of an envelope. Raises `DocumentError` with all findings."""
    document = read_object(payload, name=NAME, limit=MAX_BYTES, most_values=MOST_VALUES)
    statement, findings = shape(Statement, document, _DIALECT)
    if statement is None:
        raise DocumentError(findings)
    return statement
