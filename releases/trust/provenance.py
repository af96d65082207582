"""Parses provenance: an in-toto Statement v1 with the predicate SLSA Provenance v1. Pure.

Its subjects are compared with the artifacts. All other members are claims of the builder, which are only displayed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from wire.documents.descriptor import Descriptor
from wire.documents.json_reader import Dialect, field_of, shown
from wire.documents.shape import ArrayOrNull, Document, ObjectOrNull, RequiredText, TextOrEmpty, shape
from wire.findings import DocumentError, Finding, Severity

STATEMENT_TYPE = "application/vnd.in-toto+json"
"""The payload type of a DSSE envelope over a statement."""
STATEMENT = "https://in-toto.io/Statement/v1"
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


class _Part(Document):
    # Newer formats have more members. Unknown members are ignored.
    model_config = ConfigDict(extra="ignore")


class _Resource(_Part):
    name: TextOrEmpty = ""
    uri: TextOrEmpty = ""
    digest: Annotated[dict[str, str], ObjectOrNull] = {}


_Resources = Annotated[tuple[_Resource, ...], ArrayOrNull]


class _Build(_Part):
    build_type: TextOrEmpty = ""
    external_parameters: Annotated[dict[str, Any], ObjectOrNull] = {}
    resolved_dependencies: _Resources = ()


class _Builder(_Part):
    id: RequiredText


class _Metadata(_Part):
    invocation_id: TextOrEmpty = ""
    started_on: TextOrEmpty = ""
    finished_on: TextOrEmpty = ""


class _Run(_Part):
    builder: _Builder
    metadata: _Metadata | None = None


class _Predicate(_Part):
    build_definition: _Build
    run_details: _Run


def _only(value: str) -> AfterValidator:
    def check(found: str) -> str:
        if found != value:
            raise PydanticCustomError("PROVENANCE_UNSUPPORTED", f"Only {value} is supported")
        return found

    return AfterValidator(check)


def _not_empty(subjects: tuple[_Resource, ...]) -> tuple[_Resource, ...]:
    if not subjects:
        raise PydanticCustomError("PROVENANCE_NO_SUBJECT", "The statement has no subject")
    return subjects


class Statement(_Part):
    """A statement of the supported type."""

    type_: Annotated[RequiredText, _only(STATEMENT)] = Field(alias="_type")
    predicate_type: Annotated[RequiredText, _only(PREDICATE)]
    subject: Annotated[_Resources, AfterValidator(_not_empty)] = ()
    predicate: _Predicate


def read_statement(document: Mapping[str, Any]) -> Statement:
    """Parse a JSON object as a statement. Raises `DocumentError` with all findings."""
    read, findings = shape(Statement, document, _DIALECT)
    if read is None:
        raise DocumentError(findings)
    return read


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
