"""Pipelines, contracts, releases, artifacts, activations, attachments, deployments, trusted keys and direct uploads.

Triggers protect the rows (see the migration `0002_invariants`): a release changes only by its status and verdict, an
activation never changes, and a pipeline's pointer always names its newest activation.
"""

from releases.models.activation import Activation, Kind
from releases.models.attachment import Attachment
from releases.models.blob import Blob, BlobEvent
from releases.models.contract import Contract
from releases.models.deployment import KEY_LENGTH, Deployment
from releases.models.pipeline import (
    IDENTITY_LENGTH,
    LONGEST_ROLLBACK_DAYS,
    LONGEST_SKEW_GRACE_MINUTES,
    OLDEST_SMOKE_TEST_HOURS,
    MissingArtifacts,
    Pipeline,
    SignaturePolicy,
    UnverifiedWorkers,
    WorkerGate,
)
from releases.models.release import Artifact, Release, Retirement, Revocation
from releases.models.trusted_key import KeyRevocation, TrustedKey
from releases.models.upload import ArtifactUpload

__all__ = [
    "IDENTITY_LENGTH",
    "KEY_LENGTH",
    "LONGEST_ROLLBACK_DAYS",
    "LONGEST_SKEW_GRACE_MINUTES",
    "OLDEST_SMOKE_TEST_HOURS",
    "Activation",
    "Artifact",
    "ArtifactUpload",
    "Attachment",
    "Blob",
    "BlobEvent",
    "Contract",
    "Deployment",
    "KeyRevocation",
    "Kind",
    "MissingArtifacts",
    "Pipeline",
    "Release",
    "Retirement",
    "Revocation",
    "SignaturePolicy",
    "TrustedKey",
    "UnverifiedWorkers",
    "WorkerGate",
]
