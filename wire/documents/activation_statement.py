"""The activation history of a pipeline: an in-toto Statement v1 that says which release was active when, and why. Pure.

The coordinator builds the statement from its records and signs it, as it signs the provenance of executions. `pipelines
verify-provenance` reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, SerializerFunctionWrapHandler, model_serializer
from pydantic_core import PydanticCustomError

from wire.documents.execution_statement import STATEMENT_TYPE, Digest, Part, PinnedArtifact, one_of
from wire.documents.json_reader import Dialect, read_object
from wire.documents.shape import ArrayOrNull, Flag, RequiredText, shaped

PREDICATE_TYPE: Final = "urn:durable-coordinator:predicate:activation-history:v1"
NAME: Final = "history"
MAX_BYTES: Final = 64 * 1024**2
"""How long a statement may be that is read."""
MOST_VALUES: Final = 1_000_000
ACTIVATION: Final = "activation"
ROLLBACK: Final = "rollback"
APPROVE: Final = "approve"
REFUSE: Final = "refuse"
GRADUAL: Final = "gradual"
PROMOTION: Final = "promotion"
WITHDRAWAL: Final = "withdrawal"

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_DIALECT = Dialect(
    name=NAME,
    code="PROVENANCE",
    preamble="Not the activation history of a pipeline: ",
    verbatim=frozenset({"PROVENANCE_UNSUPPORTED", "PROVENANCE_DIGEST_MALFORMED"}),
)


def _instant(text: str) -> str:
    if not _TIME.fullmatch(text):
        raise PydanticCustomError("PROVENANCE_UNSUPPORTED", "This is not a time in UTC with microseconds")
    return text


Time = Annotated[RequiredText, AfterValidator(_instant)]


class Subject(Part):
    name: RequiredText
    digest: Digest


_OMITTED: Final = frozenset({"person", "override", "request", "candidate"})
"""Members that are absent if they say nothing. Earlier verifiers reject members that they do not know."""


class Act(Part):
    """What `actor` did. `person` is the user who stands behind a token, if that is known."""

    @model_serializer(mode="wrap")
    def _without_omitted(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document: dict[str, Any] = serialize(self)
        return {name: value for name, value in document.items() if value or name not in _OMITTED}


class Revocation(Act):
    actor: str
    person: str | None = None
    reason: str
    revoked_at: Time


class Release(Part):
    """A release that was activated or revoked."""

    release_version: RequiredText
    contract_version: RequiredText
    descriptor_digest: Digest
    artifacts: Annotated[tuple[PinnedArtifact, ...], ArrayOrNull]
    revocation: Revocation | None


class Vote(Act):
    actor: str
    person: str | None = None
    decision: Annotated[RequiredText, one_of(APPROVE, REFUSE)]
    comment: str
    voted_at: Time


class Request(Part):
    """The request that an activation carried out, with the votes that approved it."""

    request_id: RequiredText
    requested_at: Time
    votes: Annotated[tuple[Vote, ...], ArrayOrNull]


class Candidate(Part):
    release_version: RequiredText
    share: float


class Activation(Act):
    """One activation. `previous_release_version` is null for the first one of a pipeline.

    `override` says that it did without the approvals that the policy required. Only a gradual activation has a
    candidate, which gets `share` percent of the new executions.
    """

    sequence: int
    kind: Annotated[RequiredText, one_of(ACTIVATION, ROLLBACK, GRADUAL, PROMOTION, WITHDRAWAL)]
    release_version: RequiredText
    previous_release_version: str | None
    actor: str
    person: str | None = None
    reason: str
    activated_at: Time
    override: Flag = False
    request: Request | None = None
    candidate: Candidate | None = None


class Predicate(Part):
    tenant: RequiredText
    pipeline_id: RequiredText
    releases: Annotated[tuple[Release, ...], ArrayOrNull]
    activations: Annotated[tuple[Activation, ...], ArrayOrNull]
    omitted_activations: int


class Statement(Part):
    """The activation history of one pipeline."""

    type_: Annotated[RequiredText, one_of(STATEMENT_TYPE)] = Field(alias="_type")
    subject: Annotated[tuple[Subject, ...], ArrayOrNull]
    predicate_type: Annotated[RequiredText, one_of(PREDICATE_TYPE)]
    predicate: Predicate

    def contradictions(self) -> list[str]:
        """Return how the statement contradicts itself. The coordinator writes none that does."""
        predicate = self.predicate
        releases = {release.release_version: release for release in predicate.releases}
        problems = list(_gaps(predicate))
        problems += [
            f"activation {activation.sequence} names the release {activation.release_version}, which is not listed"
            for activation in predicate.activations
            if activation.release_version not in releases
        ]
        problems += [
            f"activation {activation.sequence} names the release {activation.candidate.release_version},"
            " which is not listed"
            for activation in predicate.activations
            if activation.candidate is not None and activation.candidate.release_version not in releases
        ]
        problems += _wrong_kinds(predicate)
        problems += _wrong_approvals(predicate)
        if self.subject != _subjects(predicate.releases) or len(releases) != len(predicate.releases):
            problems.append("the subjects are not the releases of the history")
        return problems


def _gaps(predicate: Predicate) -> Iterator[str]:
    """Yield where an activation does not follow the one before it."""
    previous: Activation | None = None
    for place, activation in enumerate(predicate.activations, predicate.omitted_activations + 1):
        if activation.sequence != place:
            yield f"activation {activation.sequence} has the place {place}"
        if previous is not None and activation.previous_release_version != previous.release_version:
            yield f"activation {activation.sequence} does not replace the release of the activation before it"
        if previous is not None and activation.activated_at < previous.activated_at:
            yield f"activation {activation.sequence} is older than the activation before it"
        if (activation.previous_release_version is None) != (activation.sequence == 1):
            yield f"activation {activation.sequence} must replace a release, unless it is the first one"
        previous = activation


def _wrong_kinds(predicate: Predicate) -> Iterator[str]:
    """Yield the activations that are not what they say. What omitted activations would show is not judged."""
    earlier: set[str] = set()
    for activation in predicate.activations:
        returns = (
            activation.release_version in earlier and activation.release_version != activation.previous_release_version
        )
        is_rollback = activation.kind == ROLLBACK
        unseen = is_rollback and not returns and not predicate.omitted_activations
        if (returns and activation.kind == ACTIVATION) or unseen or _contradicts_itself(activation):
            yield f"activation {activation.sequence} says that it is a {activation.kind}, which the history contradicts"
        if is_rollback and not activation.reason.strip():
            yield f"activation {activation.sequence} is a rollback without a reason"
        earlier.update(filter(None, (activation.release_version, activation.previous_release_version)))


def _wrong_approvals(predicate: Predicate) -> Iterator[str]:
    """Yield the activations whose request was refused, and the overrides without a reason."""
    for activation in predicate.activations:
        votes = activation.request.votes if activation.request else ()
        if any(vote.decision == REFUSE for vote in votes):
            yield f"activation {activation.sequence} carries out a request that was refused"
        if any(vote.actor == activation.actor for vote in votes):
            yield f"activation {activation.sequence} carries out a request that its requester voted on"
        if activation.override and (activation.request or not activation.reason.strip()):
            yield f"activation {activation.sequence} is an override with a request, or without a reason"


def _contradicts_itself(activation: Activation) -> bool:
    """Return True if the kind does not fit the releases that the activation names."""
    changes = activation.release_version != activation.previous_release_version
    kept = activation.kind in {GRADUAL, WITHDRAWAL}
    return (
        (kept and changes)
        or (activation.kind == PROMOTION and not changes)
        or (activation.kind == GRADUAL) != bool(activation.candidate)
    )


def build(
    tenant: str, pipeline_id: str, releases: Sequence[Release], activations: Sequence[Activation], omitted: int
) -> dict[str, Any]:
    """Return the statement. Equal arguments give equal statements.

    `activations` are the newest ones, oldest first, and `omitted` is the number of older ones. `releases` are those
    that they name, and those that were revoked, and at least one.
    """
    predicate = Predicate(
        tenant=tenant,
        pipeline_id=pipeline_id,
        releases=tuple(releases),
        activations=tuple(activations),
        omitted_activations=omitted,
    )
    subjects = _subjects(releases)
    return Statement(
        type_=STATEMENT_TYPE, subject=subjects, predicate_type=PREDICATE_TYPE, predicate=predicate
    ).normalised()


def _subjects(releases: Iterable[Release]) -> tuple[Subject, ...]:
    return tuple(Subject(name=release.release_version, digest=release.descriptor_digest) for release in releases)


def read(payload: bytes) -> Statement:
    """Return the statement in the payload of an envelope. Raises `DocumentError` with all findings."""
    return shaped(Statement, read_object(payload, name=NAME, limit=MAX_BYTES, most_values=MOST_VALUES), _DIALECT)
