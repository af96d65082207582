"""Verifies signed statements of a coordinator offline: the provenance of an execution, and activation histories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from pipelines.errors import DefinitionError
from pipelines.release.files import named_digest, read_bounded
from wire.documents import activation_statement, active_statement, execution_statement, json_writer
from wire.documents.descriptor import parse_descriptor
from wire.documents.json_reader import read_object
from wire.documents.signing import KeyUnusable, key_id, read_envelope, read_public_key
from wire.findings import DocumentError

MAX_BYTES: Final = 2 * activation_statement.MAX_BYTES
"""How long an envelope may be that is read."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What a document says, and why it is no proof. It is one if there are no ``problems``.

    ``facts`` is empty if nothing can be believed, because no key has signed or the document has another form.
    """

    facts: dict[str, Any]
    problems: list[str]


def verify(
    document: Path, keys: Sequence[Path], artifacts: Sequence[Path] = (), release: Path | None = None
) -> Verified:
    """Verify a document with the public keys of its coordinator. No network is used.

    One of ``keys`` must have signed. With ``artifacts``, the artifacts whose code ran must be exactly these files. With
    ``release``, the execution must be pinned to that descriptor. Neither fits an activation history. Only signed bytes
    are read.

    Raises ``DefinitionError`` if a file cannot be used: FILE_UNREADABLE, PROVENANCE_KEY_INVALID, INVALID_RELEASE.
    """
    public = [_key(path) for path in keys]
    data = read_bounded(document, MAX_BYTES)
    try:
        envelope = read_envelope(read_object(data, name=document.name, limit=MAX_BYTES))
        signers = [
            key_id(key)
            for key in public
            if any(envelope.is_signed_by(key, signature) for signature in envelope.signatures)
        ]
        if not signers:
            return Verified({}, [f"PROVENANCE_NOT_SIGNED: none of the keys has signed {document}"])
        if envelope.payload_type != execution_statement.PAYLOAD_TYPE:
            return Verified({}, [f"PROVENANCE_INVALID: {document} does not contain an in-toto statement"])
        named = execution_statement.predicate_type(envelope.payload, MAX_BYTES)
        if named == activation_statement.PREDICATE_TYPE:
            return _history(activation_statement.read(envelope.payload), signers, artifacts, release)
        if named == active_statement.PREDICATE_TYPE:
            return _active(active_statement.read(envelope.payload), signers, artifacts, release)
        statement = execution_statement.read(envelope.payload)
    except DocumentError as error:
        return Verified({}, [f"PROVENANCE_INVALID: {document}: {error.findings[0].message}"])
    problems = [f"PROVENANCE_CONTRADICTORY: {problem}" for problem in statement.contradictions()]
    problems += _artifact_problems(statement, artifacts)
    problems += _release_problems(statement, release) if release is not None else []
    return Verified(_facts(statement, signers), problems)


def _history(
    statement: activation_statement.Statement, signers: list[str], artifacts: Sequence[Path], release: Path | None
) -> Verified:
    predicate = statement.predicate.normalised()
    facts = {
        "tenant": predicate["tenant"],
        "pipelineId": predicate["pipelineId"],
        "keyId": signers,
        "omittedActivations": predicate["omittedActivations"],
        "activations": predicate["activations"],
        "releases": predicate["releases"],
    }
    return Verified(facts, _problems_of_activations(statement, artifacts, release))


def _active(
    statement: active_statement.Statement, signers: list[str], artifacts: Sequence[Path], release: Path | None
) -> Verified:
    predicate = statement.predicate.normalised()
    facts = {
        "tenant": predicate["tenant"],
        "at": predicate["at"],
        "keyId": signers,
        "omittedPipelines": predicate["omittedPipelines"],
        "pipelines": predicate["pipelines"],
    }
    return Verified(facts, _problems_of_activations(statement, artifacts, release))


def _problems_of_activations(
    statement: activation_statement.Statement | active_statement.Statement,
    artifacts: Sequence[Path],
    release: Path | None,
) -> list[str]:
    problems = [f"PROVENANCE_CONTRADICTORY: {problem}" for problem in statement.contradictions()]
    if artifacts or release is not None:
        problems.append("PROVENANCE_OF_HISTORY: this is about activations, so it tells nothing about these files")
    return problems


def _facts(statement: execution_statement.Statement, signers: list[str]) -> dict[str, Any]:
    predicate = statement.predicate.normalised()
    execution, pin = predicate["execution"], predicate["pin"]
    return {
        "executionId": execution["executionId"],
        "tenant": execution["tenant"],
        "status": execution["status"],
        "finished": execution["finished"],
        "pipelineId": pin["pipelineId"],
        "contractVersion": pin["contractVersion"],
        "releaseVersion": pin["releaseVersion"],
        "artifacts": [
            f"sha256:{subject.digest.sha256}" for subject in statement.subject if subject.annotations is not None
        ],
        "pinnedThroughout": predicate["pinnedThroughout"],
        "submittedBy": predicate.get("submittedBy"),
        "activation": predicate.get("activation"),
        "keyId": signers,
        "runs": predicate["runs"],
        "awaits": predicate["awaits"],
    }


def _artifact_problems(statement: execution_statement.Statement, artifacts: Sequence[Path]) -> list[str]:
    if not artifacts:
        return []
    ran = {subject.digest.sha256 for subject in statement.subject if subject.annotations is not None}
    artifacts_by_digest = {named_digest(path).removeprefix("sha256:"): path for path in artifacts}
    problems = [
        f"ARTIFACT_DID_NOT_RUN: no part ran {path}, which has the digest sha256:{digest}"
        for digest, path in artifacts_by_digest.items()
        if digest not in ran
    ]
    problems += [
        f"ARTIFACT_NOT_GIVEN: a part ran sha256:{digest}" for digest in sorted(ran - artifacts_by_digest.keys())
    ]
    problems += [
        f"ARTIFACT_UNKNOWN: run {run.sequence} does not prove which code ran: {', '.join(run.findings)}"
        for run in statement.predicate.runs
        if not run.proves_code
    ]
    if statement.predicate.omitted_runs:
        problems.append(f"ARTIFACT_UNKNOWN: the document omits {statement.predicate.omitted_runs} runs")
    return problems


def _release_problems(statement: execution_statement.Statement, release: Path) -> list[str]:
    try:
        descriptor = parse_descriptor(read_bounded(release, MAX_BYTES)).normalised()
    except DocumentError as error:
        raise DefinitionError("INVALID_RELEASE", f"{release}: {error.findings[0].message}") from None
    pinned = statement.predicate.pin.release_digest.sha256
    if json_writer.digest(descriptor) == pinned:
        return []
    return [f"RELEASE_NOT_PINNED: the execution is pinned to another release than {release}"]


def _key(path: Path) -> Ed25519PublicKey:
    try:
        return read_public_key(read_bounded(path, MAX_BYTES).decode())
    except (KeyUnusable, UnicodeDecodeError) as error:
        message = str(error) if isinstance(error, KeyUnusable) else "This is not text."
        raise DefinitionError("PROVENANCE_KEY_INVALID", f"{path}: {message}") from None
