"""The releases that were active at a time: an in-toto Statement v1 about all pipelines of a tenant. Pure.

The coordinator builds the statement from its records and signs it. `pipelines verify-provenance` reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Final

from pydantic import Field

from wire.documents.activation_statement import MAX_BYTES, MOST_VALUES, Candidate, Release, Subject, Time
from wire.documents.execution_statement import STATEMENT_TYPE, Activation, Part, one_of
from wire.documents.json_reader import Dialect, read_object
from wire.documents.shape import ArrayOrNull, RequiredText, shaped

PREDICATE_TYPE: Final = "urn:durable-coordinator:predicate:active-releases:v1"
NAME: Final = "active releases"
_DIALECT = Dialect(
    name=NAME,
    code="PROVENANCE",
    preamble="Not the active releases of a tenant: ",
    verbatim=frozenset({"PROVENANCE_UNSUPPORTED", "PROVENANCE_DIGEST_MALFORMED"}),
)


class Pipeline(Part):
    """A pipeline, the release that was active, and the activation that decided this, with the people behind it.

    `candidate` got a share of the new executions. A release that was revoked by then accepted none.
    """

    pipeline_id: RequiredText
    release: Release
    activation: Activation
    candidate: Candidate | None


class Predicate(Part):
    """`pipelines` are those with an active release, by their ids. `omitted_pipelines` says how many are left out."""

    tenant: RequiredText
    at: Time
    pipelines: Annotated[tuple[Pipeline, ...], ArrayOrNull]
    omitted_pipelines: int


class Statement(Part):
    """The active releases of one tenant at a time."""

    type_: Annotated[RequiredText, one_of(STATEMENT_TYPE)] = Field(alias="_type")
    subject: Annotated[tuple[Subject, ...], ArrayOrNull]
    predicate_type: Annotated[RequiredText, one_of(PREDICATE_TYPE)]
    predicate: Predicate

    def contradictions(self) -> list[str]:
        """Return how the statement contradicts itself. The coordinator writes none that does."""
        problems = list(_wrong_pipelines(self.predicate))
        if self.subject != _subjects(self.predicate.pipelines):
            problems.append("the subjects are not the active releases")
        return problems


def _wrong_pipelines(predicate: Predicate) -> Iterator[str]:
    ids = [pipeline.pipeline_id for pipeline in predicate.pipelines]
    if ids != sorted(set(ids)):
        yield "the pipelines are not in the order of their ids, or one is named twice"
    for pipeline in predicate.pipelines:
        if pipeline.activation.activated_at > predicate.at:
            yield f"the release of {pipeline.pipeline_id} was activated later"
        if pipeline.release.revocation is not None and pipeline.release.revocation.revoked_at > predicate.at:
            yield f"the release of {pipeline.pipeline_id} was revoked later"


def build(tenant: str, at: str, pipelines: Sequence[Pipeline], omitted: int) -> dict[str, Any]:
    """Return the statement. Equal arguments give equal statements. There is at least one pipeline."""
    predicate = Predicate(tenant=tenant, at=at, pipelines=tuple(pipelines), omitted_pipelines=omitted)
    return Statement(
        type_=STATEMENT_TYPE, subject=_subjects(pipelines), predicate_type=PREDICATE_TYPE, predicate=predicate
    ).normalised()


def _subjects(pipelines: Iterable[Pipeline]) -> tuple[Subject, ...]:
    return tuple(
        Subject(
            name=f"{pipeline.pipeline_id} {pipeline.release.release_version}", digest=pipeline.release.descriptor_digest
        )
        for pipeline in pipelines
    )


def read(payload: bytes) -> Statement:
    """Return the statement in the payload of an envelope. Raises `DocumentError` with all findings."""
    return shaped(Statement, read_object(payload, name=NAME, limit=MAX_BYTES, most_values=MOST_VALUES), _DIALECT)
