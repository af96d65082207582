"""The domain errors of the release side, each with its code and HTTP status."""

from collections.abc import Iterable

from foundation.errors import BadRequest, Conflict, Forbidden, NotFound, Unavailable, Unprocessable
from wire.documents.descriptor import Profile
from wire.findings import Finding


class DescriptorInvalid(BadRequest, title="The release descriptor is not valid"):
    """Correct the descriptor as the findings in `errors` say, and upload the release again."""

    def __init__(self, findings: Iterable[Finding], profile: Profile | None) -> None:
        """`profile` is a member of the problem document. It is None if the document is no JSON object."""
        collected = tuple(findings)
        data = {} if profile is None else {"profile": profile.value}
        super().__init__(
            "; ".join(finding.message for finding in collected),
            errors=[finding.to_json() for finding in collected],
            **data,
        )


class AttachmentInvalid(BadRequest, title="An attachment is invalid, or does not belong to this release"):
    """Correct the attachment as the findings in `errors` say, or attach it to its own release."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        collected = tuple(findings)
        super().__init__(
            "; ".join(finding.message for finding in collected[:10]),
            errors=[finding.to_json() for finding in collected],
        )


class DescriptorUnknown(NotFound, title="No release of the pipeline has a descriptor with this digest"):
    """Check the digest. It is that of the bytes of `pipeline-release.json`."""


class PipelineUnknown(NotFound, title="The tenant has no such pipeline"):
    """Check the id. A pipeline exists once a release of it is uploaded."""


class ReleaseUnknown(NotFound, title="The pipeline has no such release"):
    """Check the version, or upload the release."""


class NothingToRollBackTo(Conflict, title="No other release was active before the active one"):
    """Activate another release."""


class NoRollback(Conflict, title="The release was not active before, or is active now"):
    """Choose one of the rollback targets, or activate the release."""


class RollbackTooFar(
    Forbidden, title="The release was active too long ago for a rollback without the right to activate"
):
    """Ask a person who may activate releases."""


class NoneActiveThen(NotFound, title="No release of the pipeline was active at this time"):
    """Ask for a later time."""


class TimeInFuture(Unprocessable, title="The time is in the future"):
    """Name a time that has passed."""


class ProvenanceKeyMissing(Conflict, title="The coordinator has no key that signs provenance"):
    """Ask an administrator to set `PROVENANCE_KEY`."""


class ReleaseConflict(Conflict, title="The release version is already registered with different metadata"):
    """Upload the changed release under a new version."""


class ReleaseRevoked(Conflict, title="The release is revoked"):
    """Use another release. A revocation is permanent."""


class ReleaseRetired(Conflict, title="The release is retired"):
    """Use another release. A retirement is permanent."""


class RetirementBlocked(Conflict, title="Something still needs the release"):
    """Wait for the executions and requests that `detail` names, or end them."""


class DescriptorProfileUnsupported(BadRequest, title="The release descriptor has a profile that cannot be deployed"):
    """Deploy a release of the profile `tpf-2026-08`, or upload this one over the REST API."""


class PipelineOfOtherApplication(Conflict, title="The pipeline belongs to another application"):
    """Choose another pipeline id, or deploy from the application that owns it."""


class DeploymentKeyReused(Conflict, title="The idempotency key belongs to another deployment"):
    """Use a new idempotency key for another deployment."""


class DeploymentRejected(Unprocessable, title="The verification rejected the release"):
    """Correct the findings of the release, and deploy it under a new version."""


class DeploymentPending(Unavailable, title="The release is not verified yet"):
    """Repeat the request after `Retry-After`. The verification continues."""


class ReleaseNotRegistered(Conflict, title="Only a registered release can be activated, revoked or retired"):
    """Wait for the verification, or correct the findings of a rejected release."""

    def __init__(self, release_version: str, status: str) -> None:
        super().__init__(f"Release {release_version!r} is {status}.", releaseStatus=status)


class NoActiveRelease(Conflict, title="No release of the pipeline is active"):
    """Activate a release of the pipeline."""


class ActiveReleaseRevoked(NoActiveRelease, title="The active release of the pipeline is revoked"):
    """Activate another release, or roll back."""


class ActiveReleaseChanged(Conflict, title="The active release is not the one that the caller expected"):
    """Read the active release, and decide again."""


class ReleaseNotOpen(Conflict, title="The release is not open to submissions that name it"):
    """Omit the release version, or wait for the activation if `mayOpen` is true.

    Its member `may_open` is true if the release was never active, so that it may help to wait for its activation.
    """

    def __init__(self, detail: str, *, active: str | None, may_open: bool) -> None:
        super().__init__(detail, activeReleaseVersion=active, mayOpen=may_open)
        self.may_open = may_open


class OperationKeyReused(Conflict, title="The operation key was used for another operation"):
    """Use a new operation key for another operation."""


class GradualActivationUnknown(NotFound, title="The pipeline has no such gradual activation"):
    """Check the id in the list of gradual activations."""


class GradualActivationInvalid(Unprocessable, title="The plan of the gradual activation is not valid"):
    """Correct the steps as `errors` says."""


class GradualActivationRunning(Conflict, title="A gradual activation of the pipeline is running"):
    """Promote or withdraw its candidate first."""


class GradualActivationEnded(Conflict, title="The gradual activation has ended"):
    """Start a new gradual activation."""


class CandidateActive(Conflict, title="The candidate is the active release"):
    """Choose a release that is not active."""


class StepChanged(Conflict, title="The current step is not the one that the caller expected"):
    """Read the gradual activation, and decide again."""


class NoNextStep(Conflict, title="The current step is the last one"):
    """Promote or withdraw the candidate."""


class ReasonRequired(Unprocessable, title="A reason is required"):
    """Add a `reason`."""


class PolicyInvalid(Unprocessable, title="The policy is not valid"):
    """Correct the members that `errors` names."""


class ArtifactUnknown(NotFound, title="No release of the tenant pins an artifact with this digest"):
    """Check the digest. It is that of an artifact in a release's descriptor."""


class ArtifactNotStored(NotFound, title="The coordinator does not store the bytes of this artifact"):
    """Read the artifact from its `uri`."""


class ArtifactMissing(Conflict, title="A stored artifact of the release is missing"):
    """Upload the release again with the artifact, or restore the artifact store."""


class ArtifactAltered(Conflict, title="A stored artifact of the release does not match its digest"):
    """Upload the release again with the artifact, and find out who wrote to the artifact store."""


class ArtifactUnverified(Unavailable, title="A stored artifact of the release was written again and is being checked"):
    """Repeat the request after `Retry-After`. The check continues."""


class ArtifactStoreUnavailable(Unavailable, title="The artifact store is unavailable"):
    """Repeat the request after `Retry-After`. Check the artifact store if it continues."""


class ArtifactStoreUnreliable(ArtifactStoreUnavailable):
    """Too many stored artifacts look wrong: the store is probably at fault."""


class ApprovalRequired(Conflict, title="The pipeline's policy requires that other people approve the activation"):
    """Make an activation request, and ask others to approve it."""


class OverrideNotAllowed(Conflict, title="The pipeline's policy allows no emergency override"):
    """Make an activation request, or change the policy of the pipeline."""


class RequestUnknown(NotFound, title="The pipeline has no such activation request"):
    """Check the id in the list of activation requests."""


class RequestNotOpen(Conflict, title="The activation request is already decided, or has ended"):
    """Make a new activation request."""


class RequestRestarted(
    Conflict, title="The activation request has begun a new round, because what it was made on has moved"
):
    """Review what `moved` names, and vote again."""


class RequestOutdated(Conflict, title="What was approved is not what would be activated now"):
    """Make a new activation request."""


class OwnRequest(Forbidden, title="A person cannot vote on their own request"):
    """Ask another person to vote."""


class AlreadyVoted(Conflict, title="The person has voted otherwise in this round"):
    """Wait for the others, or for a new round."""


class ActivationTimeInvalid(Unprocessable, title="The time of the activation is not in the future, or too far in it"):
    """Name a time in the future, within the limit that `detail` names."""


class WorkerRequired(Conflict, title="The pipeline's policy requires a worker that may run the release"):
    """Start a worker of the release, or change the policy."""


class SmokeTestRequired(Conflict, title="The pipeline's policy requires a recent, passed smoke test of the release"):
    """Run a smoke test of the release, or change the policy."""


class SignatureRequired(Conflict, title="The pipeline's policy requires a release that a trusted key has signed"):
    """Attach a signature of a trusted key, or change the policy."""


class AttachmentUnknown(NotFound, title="No release of the pipeline has an attachment with this digest"):
    """Check the digest in the list of the release's attachments."""


class AttachmentsFull(Conflict, title="The release has the maximum number of attachments"):
    """Attach it to a new release. Attachments are permanent."""


class KeyUnknown(NotFound, title="The tenant has no such trusted key"):
    """Check the id in the list of trusted keys."""


class KeyInvalid(Unprocessable, title="The trusted key is not valid"):
    """Send an ed25519 public key in PEM form, with a name."""


class KeyConflict(Conflict, title="The tenant already has this key or a key with this name"):
    """Use the key that exists, or choose another name. A revoked key cannot be trusted again."""


class UploadUnknown(NotFound, title="The tenant has no such upload"):
    """Begin a new upload."""


class UploadNotOpen(Conflict, title="The upload is no longer open"):
    """Begin a new upload."""


class UploadIncomplete(Conflict, title="Some parts of the upload are missing"):
    """Upload the parts that are missing, and finish the upload again."""


class DirectUploadsUnavailable(Conflict, title="The artifact store does not support direct uploads"):
    """Upload the artifact with the release."""


class DirectUploadsFull(Conflict, title="The tenant has too many open uploads"):
    """Finish open uploads, or wait until they expire."""
