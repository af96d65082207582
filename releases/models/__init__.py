"""Pipelines, contracts, releases, artifacts, activations, requests, attachments, deployments, trusted keys and uploads.

Triggers protect the rows (see the migrations `*_guards*`): a release changes only by its status and verdict, an
activation never changes, and a pipeline's pointer always names its newest activation.
"""

from releases.models.activation import SWITCHES, Activation, Kind
from releases.models.activation_request import LONGEST_SCHEDULE, ActivationRequest, Vote
from releases.models.attachment import Attachment
from releases.models.blob import Blob, BlobEvent, BlobLease
from releases.models.contract import Contract
from releases.models.deployment import KEY_LENGTH, Deployment
from releases.models.gradual_activation import GradualActivation
from releases.models.pipeline import (
    IDENTITY_LENGTH,
    LONGEST_APPROVAL_HOURS,
    LONGEST_ROLLBACK_DAYS,
    LONGEST_SKEW_GRACE_MINUTES,
    LONGEST_VERIFICATION_HOURS,
    MOST_APPROVALS,
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
    "LONGEST_APPROVAL_HOURS",
    "LONGEST_ROLLBACK_DAYS",
    "LONGEST_SCHEDULE",
    "LONGEST_SKEW_GRACE_MINUTES",
    "LONGEST_VERIFICATION_HOURS",
    "MOST_APPROVALS",
    "OLDEST_SMOKE_TEST_HOURS",
    "SWITCHES",
    "Activation",
    "ActivationRequest",
    "Artifact",
    "ArtifactUpload",
    "Attachment",
    "Blob",
    "BlobEvent",
    "BlobLease",
    "Contract",
    "Deployment",
    "GradualActivation",
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
    "Vote",
    "WorkerGate",
]
