"""The provenance of an execution: an in-toto Statement v1 that says which code ran each part of it. Pure.

The coordinator builds the statement from its records and signs it. `pipelines verify-provenance` reads it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import AfterValidator, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer
from pydantic_core import PydanticCustomError

from wire.documents.execution_runs import RunFinding, Runs
from wire.documents.json_reader import Dialect, read_object
from wire.documents.shape import ArrayOrNull, Document, Flag, RequiredText, shaped

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "urn:durable-coordinator:predicate:execution-provenance:v1"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
"""The payload type of the envelope."""
ENVELOPE_MEDIA_TYPE: Final = "application/vnd.dsse.envelope.v1+json"
CANONICAL_JSON: Final = "urn:durable-coordinator:canonical-json:v1"
"""The form of JSON values whose SHA-256 the statement contains: see `wire.documents.json_writer.canonical`."""
NAME: Final = "provenance"
MAX_BYTES: Final = 16 * 1024**2
"""How long a statement may be that is read."""
MOST_VALUES: Final = 500_000
RELEASE_NAME: Final = "pipeline-release.json"

_DOUBTS = frozenset({RunFinding.NOT_REPORTED, RunFinding.CODE_NOT_VERIFIED, RunFinding.ARTIFACT_AS_REGISTERED})
_HEX = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


# --- the document ---------------------------------------------------------------------------------

_DIALECT = Dialect(
    name=NAME,
    code="PROVENANCE",
    preamble="Not the provenance of an execution: ",
    verbatim=frozenset({"PROVENANCE_UNSUPPORTED", "PROVENANCE_DIGEST_MALFORMED"}),
)


def one_of(*known: str) -> AfterValidator:
    """Return the rule that a text is one of `known`."""

    def check(value: str) -> str:
        if value not in known:
            verb = "is" if len(known) == 1 else "are"
            raise PydanticCustomError("PROVENANCE_UNSUPPORTED", f"Only {' and '.join(known)} {verb} supported")
        return value

    return AfterValidator(check)


def _hexadecimal(text: str) -> str:
    if not _HEX.fullmatch(text):
        raise PydanticCustomError("PROVENANCE_DIGEST_MALFORMED", "This is not a SHA-256 in lower-case hex")
    return text


class Part(Document):
    """A part of a statement. Code may build it by the names of its attributes; reading stays strict."""

    model_config = ConfigDict(validate_by_name=True)


class Digest(Part):
    sha256: Annotated[RequiredText, AfterValidator(_hexadecimal)]


class Annotations(Part):
    pinned: bool


class Subject(Part):
    name: RequiredText
    digest: Digest
    annotations: Annotations | None = None


class AboutExecution(Part):
    """`finished_at` and `result_digest` are null if the execution has not finished, or has no result."""

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


class PinnedArtifact(Part):
    artifact_id: RequiredText
    digest: RequiredText


class AboutPin(Part):
    pipeline_id: RequiredText
    contract_version: RequiredText
    release_version: RequiredText
    release_digest: Digest
    artifacts: Annotated[tuple[PinnedArtifact, ...], ArrayOrNull]

    @property
    def digests(self) -> frozenset[str]:
        return frozenset(artifact.digest for artifact in self.artifacts)


class StepRun(Part):
    index: int
    name: str | None
    started_at: str | None
    ended_at: str | None


class Run(Part):
    """One part of the execution, as its worker reported it.

    `durable_pipelines` is the version of that distribution; null if it is unknown, as in earlier documents.
    """

    sequence: int
    outcome: RequiredText
    attempt: int | None
    worker: str | None
    artifact_digest: str | None
    pinned: bool
    code: str | None
    environment: str | None
    durable_pipelines: str | None = None
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


class Answer(Part):
    """An answered interaction of an await. `actor` answered it."""

    interaction_id: RequiredText
    actor: str | None
    answered_at: str | None


class Await(Part):
    """An await of the execution. `answers` has the first ones, `answered` is the number of all."""

    step_index: int
    step_id: RequiredText
    status: RequiredText
    opened_at: RequiredText
    items: int
    answered: int
    answers: Annotated[tuple[Answer, ...], ArrayOrNull]


class Acted(Part):
    """An act of `actor`. `person` is the user who stands behind it; null if that is not known."""

    actor: RequiredText
    person: str | None

    @property
    def who(self) -> str:
        """The actor, followed by the person if the actor is a token."""
        return named(self.actor, self.person)


class Approval(Acted):
    """A vote for a request."""

    comment: str
    approved_at: RequiredText


class Request(Acted):
    """The request that an activation carried out."""

    request_id: RequiredText
    reason: RequiredText
    requested_at: RequiredText
    approvals: Annotated[tuple[Approval, ...], ArrayOrNull]


class Activation(Acted):
    """The activation that made the release available. `override` says that it did without the required approvals."""

    sequence: int
    kind: RequiredText
    reason: str
    activated_at: RequiredText
    override: Flag
    request: Request | None

    @property
    def approvals(self) -> tuple[Approval, ...]:
        return self.request.approvals if self.request else ()


class Predicate(Part):
    """`activation` is absent if the release was never activated, `submitted_by` from earlier documents.

    Earlier verifiers reject documents that have them.
    """

    execution: AboutExecution
    pin: AboutPin
    canonical_json: Annotated[RequiredText, one_of(CANONICAL_JSON)]
    pinned_throughout: bool
    runs: Annotated[tuple[Run, ...], ArrayOrNull]
    omitted_runs: int
    awaits: Annotated[tuple[Await, ...], ArrayOrNull]
    submitted_by: Acted | None = None
    activation: Activation | None = None

    @model_serializer(mode="wrap")
    def _without_omitted(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document: dict[str, Any] = serialize(self)
        return {name: value for name, value in document.items() if value is not None}


class Statement(Part):
    """The provenance of one execution."""

    type_: Annotated[RequiredText, one_of(STATEMENT_TYPE)] = Field(alias="_type")
    subject: Annotated[tuple[Subject, ...], ArrayOrNull]
    predicate_type: Annotated[RequiredText, one_of(PREDICATE_TYPE)]
    predicate: Predicate

    def contradictions(self) -> list[str]:
        """Return how the statement contradicts itself. The coordinator writes none that does."""
        predicate = self.predicate
        runs = Runs([run.normalised() for run in predicate.runs], predicate.omitted_runs)
        problems = [
            f"run {run.sequence} says pinned={run.pinned}, which its artifact contradicts"
            for run in predicate.runs
            if run.pinned != (run.artifact_digest in predicate.pin.digests)
        ]
        if predicate.pinned_throughout != is_pinned_throughout(runs):
            problems.append("pinnedThroughout contradicts the runs")
        subjects = [subject.model_dump(mode="json", by_alias=True, exclude_none=True) for subject in self.subject]
        if subjects != _subjects(predicate.pin, runs):
            problems.append("the subjects are not the artifacts that the runs name")
        return problems


def predicate_type(payload: bytes, limit: int) -> Any:
    """Return what the payload of an envelope says that it is. Raises `DocumentError` if it is no object."""
    return read_object(payload, name="statement", limit=limit, most_values=1_000_000).get("predicateType")


def read(payload: bytes) -> Statement:
    """Return the statement in the payload of an envelope. Raises `DocumentError` with all findings."""
    document = read_object(payload, name=NAME, limit=MAX_BYTES, most_values=MOST_VALUES)
    return shaped(Statement, document, _DIALECT)


# --- what the coordinator writes ------------------------------------------------------------------


def build(
    execution: AboutExecution,
    pin: AboutPin,
    runs: Runs,
    awaits: Sequence[Mapping[str, Any]],
    submitter: Acted,
    activation: Activation | None = None,
) -> dict[str, Any]:
    """Return the statement. Equal arguments give equal statements."""
    return {
        "_type": STATEMENT_TYPE,
        "subject": _subjects(pin, runs),
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "execution": execution.normalised(),
            "pin": pin.normalised(),
            "canonicalJson": CANONICAL_JSON,
            "pinnedThroughout": is_pinned_throughout(runs),
            "runs": runs.entries,
            "omittedRuns": runs.omitted,
            "awaits": list(awaits),
            "submittedBy": submitter.normalised(),
            **({} if activation is None else {"activation": activation.normalised()}),
        },
    }


def named(actor: str, person: str | None) -> str:
    """Return the actor, followed by the person if the actor is a token."""
    return f"{actor} ({person})" if person and actor.startswith("token:") else actor


def is_pinned_throughout(runs: Runs) -> bool:
    """Return True if a worker reported each part with the artifact that it loaded, and the release pins them all."""
    return not runs.omitted and all(run["pinned"] and proves_code(run) for run in runs.entries)


def proves_code(run: Mapping[str, Any]) -> bool:
    """Return True if a worker reported the part with the artifact that it loaded its code from."""
    return run["artifactDigest"] is not None and _DOUBTS.isdisjoint(run["findings"])


def _subjects(pin: AboutPin, runs: Runs) -> list[dict[str, Any]]:
    """Return the artifacts that ran, as reported. A statement needs a subject, so without any it is the release."""
    names = {artifact.digest: artifact.artifact_id for artifact in reversed(pin.artifacts)}
    reported = {
        run["artifactDigest"]
        for run in runs.entries
        if run["artifactDigest"] is not None and RunFinding.NOT_REPORTED not in run["findings"]
    }
    subjects = [
        {
            "name": names.get(digest, "an artifact that the release does not pin"),
            "digest": {"sha256": digest.removeprefix("sha256:")},
            "annotations": {"pinned": digest in names},
        }
        for digest in sorted(reported)
        if _DIGEST.fullmatch(digest)
    ]
    return subjects or [{"name": RELEASE_NAME, "digest": pin.release_digest.normalised()}]
