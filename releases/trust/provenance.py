"""Parses provenance: an in-toto Statement v1 with the predicate SLSA Provenance v1. Pure.

Its subjects are compared with the artifacts. All other members are claims of the builder, which are only displayed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from wire.documents.descriptor import Descriptor
from wire.documents.execution_statement import STATEMENT_TYPE, one_of
from wire.documents.json_reader import Dialect, field_of, shown
from wire.documents.shape import ArrayOrNull, ObjectOrNull, OpenDocument, RequiredText, TextOrEmpty, shaped
from wire.findings import Finding, Severity

PREDICATE = "https://slsa.dev/provenance/v1"
NAME = "provenance"
MATERIALS_SHOWN = 50

_HEX = re.compile(r"[0-9a-f]{64}")
_DIALECT = Dialect(
    name=NAME,
    code="ATTACHMENT",
    preamble="Not a usable provenance statement: ",
    verbatim=frozenset({"PROVENANCE_UNSUPPORTED", "PROVENANCE_NO_SUBJECT"}),
)


class _Resource(OpenDocument):
    name: TextOrEmpty = ""
    uri: TextOrEmpty = ""
    digest: Annotated[dict[str, str], ObjectOrNull] = {}


_Resources = Annotated[tuple[_Resource, ...], ArrayOrNull]


class _Build(OpenDocument):
    build_type: TextOrEmpty = ""
    external_parameters: Annotated[dict[str, Any], ObjectOrNull] = {}
    resolved_dependencies: _Resources = ()


class _Builder(OpenDocument):
    id: RequiredText


class _Metadata(OpenDocument):
    invocation_id: TextOrEmpty = ""
    started_on: TextOrEmpty = ""
    finished_on: TextOrEmpty = ""


class _Run(OpenDocument):
    builder: _Builder
    metadata: _Metadata | None = None


class _Predicate(OpenDocument):
    build_definition: _Build
    run_details: _Run


def _not_empty(subjects: tuple[_Resource, ...]) -> tuple[_Resource, ...]:
    if not subjects:
        raise PydanticCustomError("PROVENANCE_NO_SUBJECT", "The statement has no subject")
    return subjects


class Statement(OpenDocument):
    """A statement of the supported type."""

    type_: Annotated[RequiredText, one_of(STATEMENT_TYPE)] = Field(alias="_type")
    predicate_type: Annotated[RequiredText, one_of(PREDICATE)]
    subject: Annotated[_Resources, AfterValidator(_not_empty)] = ()
    predicate: _Predicate


def read_statement(document: Mapping[str, Any]) -> Statement:
    """Parse a JSON object as a statement. Raises `DocumentError` with all findings."""
    return shaped(Statement, document, _DIALECT)


def artifact_findings(statement: Statement, descriptor: Descriptor) -> list[Finding]:
    """Return a finding for each subject that is not an artifact, and for each stored artifact that is not a subject."""
    artifacts = {artifact.digest for artifact in descriptor.artifacts}
    named = {f"sha256:{subject.digest.get('sha256', '')}" for subject in statement.subject}
    findings = [
        Finding("PROVENANCE_SUBJECT_UNKNOWN", field_of(NAME, ("subject", position)), _unknown_subject(subject))
        for position, subject in enumerate(statement.subject)
        if f"sha256:{subject.digest.get('sha256', '')}" not in artifacts
    ]
    findings += [
        Finding(
            "PROVENANCE_ARTIFACT_UNCOVERED",
            field_of(NAME, ("subject",)),
            f"The provenance does not mention the artifact {shown(artifact.artifact_id)}",
            Severity.WARNING,
        )
        for artifact in descriptor.artifacts
        if artifact.kind.is_stored and artifact.digest not in named
    ]
    return findings


def _unknown_subject(subject: _Resource) -> str:
    digest = subject.digest.get("sha256", "")
    if not _HEX.fullmatch(digest):
        return f"The subject {shown(subject.name)} has no SHA-256 digest in lower-case hex"
    return f"The subject {shown(subject.name)} has the digest sha256:{digest}, which no artifact of the release has"


def summary(statement: Statement) -> dict[str, Any]:
    """Return the members that are displayed. They are unverified claims of the builder."""
    build, run = statement.predicate.build_definition, statement.predicate.run_details
    metadata = run.metadata or _Metadata()
    materials = build.resolved_dependencies
    return {
        "builder": shown(run.builder.id),
        "buildType": shown(build.build_type),
        "source": shown(_source(build)),
        "invocation": shown(metadata.invocation_id),
        "startedOn": shown(metadata.started_on),
        "finishedOn": shown(metadata.finished_on),
        "subjects": len(statement.subject),
        "materialCount": len(materials),
        "materials": [
            {"uri": shown(each.uri or each.name), "digest": shown(_digest(each))}
            for each in materials[:MATERIALS_SHOWN]
        ],
    }


def _source(build: _Build) -> str:
    """Return the source of the code: the workflow repository of GitHub's builders, or else the first material."""
    workflow = build.external_parameters.get("workflow")
    if isinstance(workflow, dict) and isinstance(workflow.get("repository"), str):
        ref = workflow.get("ref")
        return f"{workflow['repository']}@{ref}" if isinstance(ref, str) else workflow["repository"]
    return build.resolved_dependencies[0].uri if build.resolved_dependencies else ""


def _digest(resource: _Resource) -> str:
    return next((f"{algorithm}:{value}" for algorithm, value in resource.digest.items()), "")
