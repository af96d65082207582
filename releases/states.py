"""The statuses of releases, direct uploads and activation requests with their legal moves; kinds of attachments. Pure.

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


class RequestStatus(StrEnum):
    """An activation request collects votes (OPEN), waits for its time (APPROVED), and has then one of five ends.

    Enough votes approve it, and a single one refuses it. An approved request is ACTIVATED, or FAILED if something has
    moved or a gate is unmet.
    """

    OPEN = "OPEN"
    APPROVED = "APPROVED"
    ACTIVATED = "ACTIVATED"
    REFUSED = "REFUSED"
    WITHDRAWN = "WITHDRAWN"
    EXPIRED = "EXPIRED"
    FAILED = "FAILED"


REQUEST_MOVES: dict[RequestStatus, frozenset[RequestStatus]] = {
    RequestStatus.OPEN: frozenset(
        {
            RequestStatus.APPROVED,
            RequestStatus.REFUSED,
            RequestStatus.WITHDRAWN,
            RequestStatus.EXPIRED,
            RequestStatus.FAILED,
        }
    ),
    RequestStatus.APPROVED: frozenset({RequestStatus.ACTIVATED, RequestStatus.WITHDRAWN, RequestStatus.FAILED}),
    RequestStatus.ACTIVATED: frozenset(),
    RequestStatus.REFUSED: frozenset(),
    RequestStatus.WITHDRAWN: frozenset(),
    RequestStatus.EXPIRED: frozenset(),
    RequestStatus.FAILED: frozenset(),
}
UNDECIDED = frozenset({RequestStatus.OPEN, RequestStatus.APPROVED})


class AttachmentKind(StrEnum):
    """What an attachment is: a signature (DSSE), provenance (in-toto) or an SBOM (CycloneDX, SPDX)."""

    SIGNATURE = "signature"
    PROVENANCE = "provenance"
    SBOM = "sbom"
