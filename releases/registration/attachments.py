"""Attaches documents to releases, with the upload or later. Attachments are never changed or removed."""

from collections.abc import Sequence

from django.db import transaction

from releases.errors import AttachmentInvalid, AttachmentsFull, AttachmentUnknown, ReleaseNotRegistered
from releases.models import Attachment, Pipeline, Release
from releases.states import PENDING, Status
from releases.trust.evidence import Evidence, examine
from tenancy.audit.acts import Act
from wire.documents.descriptor import Descriptor, descriptor_from_json
from wire.findings import DocumentError, Finding


def examined(contents: Sequence[bytes], descriptor: Descriptor) -> list[Evidence]:
    """Parse the documents and compare them with `descriptor`. Equal documents are returned once.

    Raises `AttachmentInvalid` with all findings, and `AttachmentsFull`.
    """
    found: dict[str, Evidence] = {}
    findings: list[Finding] = []
    for content in contents:
        try:
            evidence = examine(content, descriptor)
        except DocumentError as error:
            findings += error.findings
        else:
            found.setdefault(evidence.digest, evidence)
    if findings:
        raise AttachmentInvalid(findings)
    if len(found) > Attachment.MAX_PER_RELEASE:
        raise AttachmentsFull(f"A release can have at most {Attachment.MAX_PER_RELEASE} attachments.")
    return list(found.values())


def write(release: Release, evidence: Sequence[Evidence], *, actor: str, after: int = 0) -> list[Attachment]:
    """Write the attachments of `release`, which already has `after` attachments.

    The caller has just created the release, or has locked its row.
    """
    return Attachment.objects.bulk_create(
        Attachment(
            release=release,
            position=position,
            kind=each.kind,
            digest=each.digest,
            content=each.content,
            summary=each.summary,
            findings=[finding.to_json() for finding in each.findings],
            attached_by=actor,
        )
        for position, each in enumerate(evidence, start=after)
    )


def attach(release: Release, contents: Sequence[bytes], *, actor: str) -> list[Attachment]:
    """Attach documents to a stored release, and return the new attachments. Documents that it already has are ignored.

    Raises `AttachmentInvalid`, also for a document about something other than the release, `AttachmentsFull`, and
    `ReleaseNotRegistered` for a release that was rejected, revoked or retired.
    """
    evidence = examined(contents, descriptor_from_json(release.descriptor))
    wrong = [finding for each in evidence if each.contradicts for finding in each.findings]
    if wrong:
        raise AttachmentInvalid(wrong)
    with transaction.atomic():
        locked = Release.objects.select_for_update(no_key=True).get(pk=release.pk)
        held = set(locked.attachments.values_list("digest", flat=True))
        new = [each for each in evidence if each.digest not in held]
        if new and locked.status not in {*PENDING, Status.REGISTERED}:
            raise ReleaseNotRegistered(locked.release_version, locked.status)
        if len(held) + len(new) > Attachment.MAX_PER_RELEASE:
            raise AttachmentsFull(
                f"A release can have at most {Attachment.MAX_PER_RELEASE} attachments. It already has {len(held)}."
            )
        written = write(locked, new, actor=actor, after=len(held))
        if new:
            release.record(Act.RELEASE_ATTACH, actor, digests=[each.digest for each in new])
        return written


def find(of: Pipeline, digest: str) -> Attachment:
    """Return an attachment of the pipeline's releases with this digest. Raises `AttachmentUnknown`."""
    found = Attachment.objects.filter(release__pipeline=of, digest=digest).order_by("pk").first()
    if found is None:
        raise AttachmentUnknown(f"No release of {of.pipeline_id!r} has an attachment with the digest {digest!r}.")
    return found
