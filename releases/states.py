"""The statuses of releases and direct uploads with their legal moves, and the kinds of attachments. Pure.

Triggers enforce the same moves. A test compares them with these tables. ACTIVE is not a status: a release is active
while the newest activation of its pipeline names it.
"""

from enum import StrEnum


class Status(StrEnum):
    UPLOADED = "UPLOADED"
    VERIFYING = "VERIFYING"
    REGISTERED = "REGISTERED"
    REJECTED = "REJECTED"
    REVOKED = "REVOKED"
    RETIRED = "RETIRED"


MOVES: dict[Status, frozenset[Status]] = {
    Status.UPLOADED: frozenset({Status.VERIFYING}),
    Status.VERIFYING: frozenset({Status.REGISTERED, Status.REJECTED}),
    Status.REGISTERED: frozenset({Status.REVOKED, Status.RETIRED}),
    Status.REJECTED: frozenset(),
    Status.REVOKED: frozenset(),
    Status.RETIRED: frozenset(),
}
PENDING = frozenset({Status.UPLOADED, Status.VERIFYING})


class UploadStatus(StrEnum):
    """A direct upload receives parts, is verified, and is then stored under its digest, rejected or expired."""

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
