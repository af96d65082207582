"""Attaches signatures, provenance and SBOMs to releases, with the upload or later. They are never changed or removed.

The content determines the kind. A document that cannot be parsed is rejected. A parsed document is compared with the
descriptor of the release.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.db import transaction

from releases.errors import AttachmentInvalid, AttachmentsFull, AttachmentUnknown, ReleaseNotRegistered
from releases.models import Attachment, Pipeline, Release
from releases.states import PENDING, AttachmentKind, Status
from releases.trust import documents
from tenancy.audit.acts import Act
from wire.comparison.differences import Package
from wire.documents import signing
from wire.documents.descriptor import Descriptor, descriptor_from_json
from wire.documents.execution_statement import PAYLOAD_TYPE
from wire.documents.json_reader import bounded, read_object
from wire.findings import DocumentError, Finding

MAX_ATTACHMENT_BYTES = 8 * 1024 * 1024
MAX_ATTACHMENT_VALUES = 500_000
NAME = "attachment"


def examine(content: bytes, descriptor: Descriptor) -> Attachment:
    """Return an attachment of the release of `descriptor`, without this release: JSON of at most MAX_ATTACHMENT_BYTES.

    Its findings are the contradictions between the two. Raises only `DocumentError`, with all findings.
    """
    try:
        kind, summary, findings = _read(_object(content), descriptor)
    except DocumentError as error:
        raise DocumentError(bounded(error.findings, NAME)) from None
    return Attachment(
        kind=kind,
        digest=f"sha256:{hashlib.sha256(content).hexdigest()}",
        content=content,
        summary=summary,
        findings=[finding.to_json() for finding in bounded(findings, NAME)],
    )


_Reading = tuple[AttachmentKind, dict[str, Any], Iterable[Finding]]
"""The kind, the summary and the findings of a document."""


def _read(document: dict[str, Any], descriptor: Descriptor) -> _Reading:
    key_ids: list[str] = []
    if "payload" in document and "payloadType" in document:
        envelope = signing.read_envelope(document)
        key_ids = [signature.key_id[:200] for signature in envelope.signatures]
        if envelope.payload_type == signing.RELEASE_TYPE:
            return (
                AttachmentKind.SIGNATURE,
                {"keyIds": key_ids},
                signing.descriptor_findings(envelope, descriptor),
            )
        if envelope.payload_type != PAYLOAD_TYPE:
            raise _unknown(f"the payload type of the envelope is not {signing.RELEASE_TYPE} or {PAYLOAD_TYPE}")
        document = read_object(envelope.payload, name=documents.PROVENANCE, limit=MAX_ATTACHMENT_BYTES)
    elif documents.is_bill(document) and "_type" not in document:
        bill = documents.read_bill(document)
        return AttachmentKind.SBOM, bill.summary(), bill.findings(descriptor)
    elif "_type" not in document:
        raise _unknown("it is not a DSSE envelope, an in-toto statement, or a CycloneDX or SPDX document")
    statement = documents.read_statement(document)
    summary = {**statement.summary(), "keyIds": key_ids}
    return AttachmentKind.PROVENANCE, summary, statement.findings(descriptor)


def envelope_of(content: bytes) -> signing.Envelope:
    """Return the envelope in the content of a signed attachment. Raises `DocumentError`."""
    return signing.read_envelope(_object(content))


def packages_of(content: bytes) -> Iterator[Package]:
    """Yield the packages in the content of an attached SBOM. Raises `DocumentError`."""
    yield from documents.read_bill(_object(content)).contained()


def _object(content: bytes) -> dict[str, Any]:
    return read_object(content, name=NAME, limit=MAX_ATTACHMENT_BYTES, most_values=MAX_ATTACHMENT_VALUES)


def _unknown(why: str) -> DocumentError:
    return DocumentError([Finding("ATTACHMENT_KIND_UNKNOWN", NAME, f"The file cannot be attached: {why}")])


def examined(contents: Sequence[bytes], descriptor: Descriptor) -> list[Attachment]:
    """Parse the documents and compare them with `descriptor`. Equal documents are returned once.

    Raises `AttachmentInvalid` with all findings, and `AttachmentsFull`.
    """
    examined_by_digest: dict[str, Attachment] = {}
    findings: list[Finding] = []
    for content in contents:
        try:
            attachment = examine(content, descriptor)
        except DocumentError as error:
            findings += error.findings
        else:
            examined_by_digest.setdefault(attachment.digest, attachment)
    if findings:
        raise AttachmentInvalid(findings)
    if len(examined_by_digest) > Attachment.MAX_PER_RELEASE:
        raise AttachmentsFull(f"A release can have at most {Attachment.MAX_PER_RELEASE} attachments.")
    return list(examined_by_digest.values())


def write(release: Release, new: Sequence[Attachment], *, actor: str, after: int = 0) -> list[Attachment]:
    """Write attachments of `release`, which already has `after` attachments.

    The caller has just created the release, or has locked its row.
    """
    for position, attachment in enumerate(new, start=after):
        attachment.release, attachment.position, attachment.attached_by = release, position, actor
    return Attachment.objects.bulk_create(new)


def attach(release: Release, contents: Sequence[bytes], *, actor: str) -> list[Attachment]:
    """Attach documents to a stored release, and return the new attachments. Documents that it already has are ignored.

    Raises `AttachmentInvalid`, also for a document about something other than the release, `AttachmentsFull`, and
    `ReleaseNotRegistered` for a release that was rejected, revoked or retired.
    """
    attached = examined(contents, descriptor_from_json(release.descriptor))
    wrong = [finding for document in attached if document.contradicts for finding in document.findings]
    if wrong:
        raise AttachmentInvalid([Finding.from_json(finding) for finding in wrong])
    with transaction.atomic():
        locked = Release.objects.select_for_update(no_key=True).get(pk=release.pk)
        held = set(locked.attachments.values_list("digest", flat=True))
        new = [document for document in attached if document.digest not in held]
        if new and locked.status not in {*PENDING, Status.REGISTERED}:
            raise ReleaseNotRegistered(locked.release_version, locked.status)
        if len(held) + len(new) > Attachment.MAX_PER_RELEASE:
            raise AttachmentsFull(
                f"A release can have at most {Attachment.MAX_PER_RELEASE} attachments. It already has {len(held)}."
            )
        written = write(locked, new, actor=actor, after=len(held))
        if new:
            release.record(Act.RELEASE_ATTACH, actor, digests=[document.digest for document in new])
        return written


def find(pipeline: Pipeline, digest: str) -> Attachment:
    """Return an attachment of the pipeline's releases with this digest. Raises `AttachmentUnknown`."""
    attachment = Attachment.objects.filter(release__pipeline=pipeline, digest=digest).order_by("pk").first()
    if attachment is None:
        raise AttachmentUnknown(f"No release of {pipeline.pipeline_id!r} has an attachment with the digest {digest!r}.")
    return attachment
