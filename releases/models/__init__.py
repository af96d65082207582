"""Pipelines, contracts, releases, artifacts, activations, requests, attachments, deployments, trusted keys and uploads.

Triggers protect the rows (see the migrations `*_guards*`): a release changes only by its status and verdict, an
activation never changes, and a pipeline's pointer always names its newest activation.
"""

from releases.models.activation import (
    LONGEST_SCHEDULE,
    SWITCHES,
    Activation,
    ActivationRequest,
    GradualActivation,
    Kind,
    Vote,
)
from releases.models.blob import ArtifactUpload, Blob, BlobEvent, BlobLease
from releases.models.pipeline import (
    IDENTITY_LENGTH,
    MissingArtifacts,
    Pipeline,
    Recipients,
    SignaturePolicy,
    UnverifiedWorkers,
    WorkerGate,
)
from releases.models.release import (
    KEY_LENGTH,
    Artifact,
    Attachment,
    Contract,
    Deployment,
    KeyRevocation,
    Release,
    Retirement,
    Revocation,
    TrustedKey,
)
