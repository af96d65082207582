"""The tables of pipelines, contracts, releases, artifacts, activations, requests and trusted keys."""

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
