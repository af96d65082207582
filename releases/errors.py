"""The domain errors of the release side, each with its code and HTTP status."""

from collections.abc import Iterable

from foundation.errors import BadRequest, Conflict, Forbidden, NotFound, Unavailable, Unprocessable
from wire.documents.descriptor import Profile
from wire.findings import Finding


class DescriptorInvalid(BadRequest, title="The release descriptor is not valid"):
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
    def __init__(self, findings: Iterable[Finding]) -> None:
        collected = tuple(findings)
        super().__init__(
            "; ".join(finding.message for finding in collected[:10]),
            errors=[finding.to_json() for finding in collected],
        )


class DescriptorUnknown(NotFound, title="No release of the pipeline has a descriptor with this digest"): ...


class PipelineUnknown(NotFound, title="The tenant has no such pipeline"): ...


class ReleaseUnknown(NotFound, title="The pipeline has no such release"): ...


class NothingToRollBackTo(Conflict, title="No other release was active before the active one"): ...


class NoRollback(Conflict, title="The release was not active before, or is active now"): ...


class RollbackTooFar(
    Forbidden, title="The release was active too long ago for a rollback without the right to activate"
): ...


class NoneActiveThen(NotFound, title="No release of the pipeline was active at this time"): ...


class TimeInFuture(Unprocessable, title="The time is in the future"): ...


class ProvenanceKeyMissing(Conflict, title="The coordinator has no key that signs provenance"): ...


class ReleaseConflict(Conflict, title="The release version is already registered with different metadata"): ...


class ReleaseRevoked(Conflict, title="The release is revoked"): ...


class ReleaseRetired(Conflict, title="The release is retired"): ...


class RetirementBlocked(Conflict, title="Something still needs the release"): ...


class DescriptorProfileUnsupported(
    BadRequest, title="The release descriptor has a profile that cannot be deployed"
): ...


class PipelineOfOtherApplication(Conflict, title="The pipeline belongs to another application"): ...


class DeploymentKeyReused(Conflict, title="The idempotency key belongs to another deployment"): ...


class DeploymentRejected(Unprocessable, title="The verification rejected the release"): ...


class DeploymentPending(Unavailable, title="The release is not verified yet"): ...


class ReleaseNotRegistered(Conflict, title="Only a registered release can be activated, revoked or retired"):
    def __init__(self, release_version: str, status: str) -> None:
        super().__init__(f"Release {release_version!r} is {status}.", releaseStatus=status)


class NoActiveRelease(Conflict, title="No release of the pipeline is active"): ...


class ActiveReleaseRevoked(NoActiveRelease, title="The active release of the pipeline is revoked"): ...


class ActiveReleaseChanged(Conflict, title="The active release is not the one that the caller expected"): ...


class ReleaseNotOpen(Conflict, title="The release is not open to submissions that name it"):
    """Its member `may_open` is true if the release was never active, so that it may help to wait for its activation."""

    def __init__(self, detail: str, *, active: str | None, may_open: bool) -> None:
        super().__init__(detail, activeReleaseVersion=active, mayOpen=may_open)
        self.may_open = may_open


class OperationKeyReused(Conflict, title="The operation key was used for another operation"): ...


class GradualActivationUnknown(NotFound, title="The pipeline has no such gradual activation"): ...


class GradualActivationInvalid(Unprocessable, title="The plan of the gradual activation is not valid"): ...


class GradualActivationRunning(Conflict, title="A gradual activation of the pipeline is running"): ...


class GradualActivationEnded(Conflict, title="The gradual activation has ended"): ...


class CandidateActive(Conflict, title="The candidate is the active release"): ...


class StepChanged(Conflict, title="The current step is not the one that the caller expected"): ...


class NoNextStep(Conflict, title="The current step is the last one"): ...


class ReasonRequired(Unprocessable, title="A reason is required"): ...


class PolicyInvalid(Unprocessable, title="The policy is not valid"): ...


class ArtifactUnknown(NotFound, title="No release of the tenant pins an artifact with this digest"): ...


class ArtifactNotStored(NotFound, title="The coordinator does not store the bytes of this artifact"): ...


class ArtifactMissing(Conflict, title="A stored artifact of the release is missing"): ...


class ArtifactAltered(Conflict, title="A stored artifact of the release does not match its digest"): ...


class ArtifactUnverified(
    Unavailable, title="A stored artifact of the release was written again and is being checked"
): ...


class ArtifactStoreUnavailable(Unavailable, title="The artifact store is unavailable"): ...


class ArtifactStoreUnreliable(ArtifactStoreUnavailable):
    """Too many stored artifacts look wrong: the store is probably at fault."""


class ApprovalRequired(Conflict, title="The pipeline's policy requires that other people approve the activation"): ...


class OverrideNotAllowed(Conflict, title="The pipeline's policy allows no emergency override"): ...


class RequestUnknown(NotFound, title="The pipeline has no such activation request"): ...


class RequestNotOpen(Conflict, title="The activation request is already decided, or has ended"): ...


class RequestRestarted(
    Conflict, title="The activation request has begun a new round, because what it was made on has moved"
): ...


class RequestOutdated(Conflict, title="What was approved is not what would be activated now"): ...


class OwnRequest(Forbidden, title="A person cannot vote on their own request"): ...


class AlreadyVoted(Conflict, title="The person has voted otherwise in this round"): ...


class ActivationTimeInvalid(
    Unprocessable, title="The time of the activation is not in the future, or too far in it"
): ...


class WorkerRequired(Conflict, title="The pipeline's policy requires a worker that may run the release"): ...


class SmokeTestRequired(
    Conflict, title="The pipeline's policy requires a recent, passed smoke test of the release"
): ...


class SignatureRequired(Conflict, title="The pipeline's policy requires a release that a trusted key has signed"): ...


class AttachmentUnknown(NotFound, title="No release of the pipeline has an attachment with this digest"): ...


class AttachmentsFull(Conflict, title="The release has the maximum number of attachments"): ...


class KeyUnknown(NotFound, title="The tenant has no such trusted key"): ...


class KeyInvalid(Unprocessable, title="The trusted key is not valid"): ...


class KeyConflict(Conflict, title="The tenant already has this key or a key with this name"): ...


class UploadUnknown(NotFound, title="The tenant has no such upload"): ...


class UploadNotOpen(Conflict, title="The upload is no longer open"): ...


class UploadIncomplete(Conflict, title="Some parts of the upload are missing"): ...


class DirectUploadsUnavailable(Conflict, title="The artifact store does not support direct uploads"): ...


class DirectUploadsFull(Conflict, title="The tenant has too many open uploads"): ...
