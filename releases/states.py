"""The status of a release and its legal moves. Pure; a trigger holds the same table, and a test the two together.

ACTIVE is not among them: a release is active while the newest activation of its pipeline names it.
"""

from enum import StrEnum


class Status(StrEnum):
    UPLOADED = "UPLOADED"
    VERIFYING = "VERIFYING"
    REGISTERED = "REGISTERED"
    REJECTED = "REJECTED"
    REVOKED = "REVOKED"


MOVES: dict[Status, frozenset[Status]] = {
    Status.UPLOADED: frozenset({Status.VERIFYING}),
    Status.VERIFYING: frozenset({Status.REGISTERED, Status.REJECTED}),
    Status.REGISTERED: frozenset({Status.REVOKED}),
    Status.REJECTED: frozenset(),
    Status.REVOKED: frozenset(),
}
PENDING = frozenset({Status.UPLOADED, Status.VERIFYING})


class UploadStatus(StrEnum):
    """A direct upload: it takes parts, is verified, and is then at its digest, or was refused, or came to nothing."""

    OPEN = "OPEN"
    VERIFYING = "VERIFYING"
    STORED = "STORED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"


UPLOAD_MOVES: dict[UploadStatus, frozenset[UploadStatus]] = {
    UploadStatus.OPEN: frozenset({UploadStatus.VERIFYING, UploadStatus.EXPIRED}),
    UploadStatus.VERIFYING: frozenset({UploadStatus.STORED, UploadStatus.REJECTED}),
    UploadStatus.STORED: frozenset(),
    UploadStatus.REJECTED: frozenset(),
    UploadStatus.EXPIRED: frozenset(),
}


class AttachmentKind(StrEnum):
    """What an attachment is: a signature (DSSE), provenance (in-toto) or an SBOM (CycloneDX, SPDX)."""

    SIGNATURE = "signature"
    PROVENANCE = "provenance"
    SBOM = "sbom"
