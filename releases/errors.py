"""The domain errors of the release side, each with its code and HTTP status."""

from collections.abc import Iterable

from foundation.errors import CoordinatorError, NotFound
from wire.documents.descriptor import Profile
from wire.findings import Finding


class DescriptorInvalid(CoordinatorError):
    code = "DESCRIPTOR_INVALID"
    status = 400
    title = "The release descriptor is not valid"

    def __init__(self, findings: Iterable[Finding], profile: Profile | None) -> None:
        """`profile` is a member of the problem document. It is None if the document is no JSON object."""
        found = tuple(findings)
        data = {} if profile is None else {"profile": profile.value}
        super().__init__(
            "; ".join(finding.message for finding in found), errors=[finding.to_json() for finding in found], **data
        )


class AttachmentInvalid(CoordinatorError):
    code = "ATTACHMENT_INVALID"
    status = 400
    title = "An attachment is invalid, or does not belong to this release"

    def __init__(self, findings: Iterable[Finding]) -> None:
        found = tuple(findings)
        super().__init__(
            "; ".join(finding.message for finding in found[:10]), errors=[finding.to_json() for finding in found]
        )


class DescriptorUnknown(NotFound):
    code = "DESCRIPTOR_UNKNOWN"
    title = "No release of the pipeline has a descriptor with this digest"


class PipelineUnknown(NotFound):
    code = "PIPELINE_UNKNOWN"
    title = "The tenant has no such pipeline"


class ReleaseUnknown(NotFound):
    code = "RELEASE_UNKNOWN"
    title = "The pipeline has no such release"


class NothingToRollBackTo(CoordinatorError):
    code = "NOTHING_TO_ROLL_BACK_TO"
    status = 409
    title = "No other release was active before the active one"


class NoRollback(CoordinatorError):
    code = "NO_ROLLBACK"
    status = 409
    title = "The release was not active before, or is active now"


class RollbackTooFar(CoordinatorError):
    code = "ROLLBACK_TOO_FAR"
    status = 403
    title = "The release was active too long ago for a rollback without the right to activate"


class NoneActiveThen(NotFound):
    code = "NONE_ACTIVE_THEN"
    title = "No release of the pipeline was active at this time"


class TimeInFuture(CoordinatorError):
    code = "TIME_IN_FUTURE"
    status = 422
    title = "The time is in the future"


class ProvenanceKeyMissing(CoordinatorError):
    code = "PROVENANCE_KEY_MISSING"
    status = 409
    title = "The coordinator has no key that signs provenance"


class ReleaseConflict(CoordinatorError):
    code = "RELEASE_CONFLICT"
    status = 409
    title = "The release version is already registered with different metadata"


class ReleaseRevoked(CoordinatorError):
    code = "RELEASE_REVOKED"
    status = 409
    title = "The release is revoked"


class ReleaseRetired(CoordinatorError):
    code = "RELEASE_RETIRED"
    status = 409
    title = "The release is retired"


class RetirementBlocked(CoordinatorError):
    code = "RETIREMENT_BLOCKED"
    status = 409
    title = "Something still needs the release"


class DescriptorProfileUnsupported(CoordinatorError):
    code = "DESCRIPTOR_PROFILE_UNSUPPORTED"
    status = 400
    title = "The release descriptor has a profile that cannot be deployed"


class PipelineOfOtherApplication(CoordinatorError):
    code = "PIPELINE_OF_OTHER_APPLICATION"
    status = 409
    title = "The pipeline belongs to another application"


class DeploymentKeyReused(CoordinatorError):
    code = "DEPLOYMENT_KEY_REUSED"
    status = 409
    title = "The idempotency key belongs to another deployment"


class DeploymentRejected(CoordinatorError):
    code = "DEPLOYMENT_REJECTED"
    status = 422
    title = "The verification rejected the release"


class DeploymentPending(CoordinatorError):
    code = "DEPLOYMENT_PENDING"
    status = 503
    title = "The release is not verified yet"


class ReleaseNotRegistered(CoordinatorError):
    code = "RELEASE_NOT_REGISTERED"
    status = 409
    title = "Only a registered release can be activated, revoked or retired"


class NoActiveRelease(CoordinatorError):
    code = "NO_ACTIVE_RELEASE"
    status = 409
    title = "No release of the pipeline is active"


class ActiveReleaseRevoked(NoActiveRelease):
    code = "ACTIVE_RELEASE_REVOKED"
    title = "The active release of the pipeline is revoked"


class ActiveReleaseChanged(CoordinatorError):
    code = "ACTIVE_RELEASE_CHANGED"
    status = 409
    title = "The active release is not the one that the caller expected"


class ReleaseNotOpen(CoordinatorError):
    """Its member `may_open` is true if the release was never active, so that it may help to wait for its activation."""

    code = "RELEASE_NOT_OPEN"
    status = 409
    title = "The release is not open to submissions that name it"

    def __init__(self, detail: str, *, active: str | None, may_open: bool) -> None:
        super().__init__(detail, activeReleaseVersion=active, mayOpen=may_open)
        self.may_open = may_open


class OperationKeyReused(CoordinatorError):
    code = "OPERATION_KEY_REUSED"
    status = 409
    title = "The operation key was used for another operation"


class GradualActivationUnknown(NotFound):
    code = "GRADUAL_ACTIVATION_UNKNOWN"
    title = "The pipeline has no such gradual activation"


class GradualActivationInvalid(CoordinatorError):
    code = "GRADUAL_ACTIVATION_INVALID"
    status = 422
    title = "The plan of the gradual activation is not valid"


class GradualActivationRunning(CoordinatorError):
    code = "GRADUAL_ACTIVATION_RUNNING"
    status = 409
    title = "A gradual activation of the pipeline is running"


class GradualActivationEnded(CoordinatorError):
    code = "GRADUAL_ACTIVATION_ENDED"
    status = 409
    title = "The gradual activation has ended"


class CandidateActive(CoordinatorError):
    code = "CANDIDATE_ACTIVE"
    status = 409
    title = "The candidate is the active release"


class StepChanged(CoordinatorError):
    code = "STEP_CHANGED"
    status = 409
    title = "The current step is not the one that the caller expected"


class NoNextStep(CoordinatorError):
    code = "NO_NEXT_STEP"
    status = 409
    title = "The current step is the last one"


class ReasonRequired(CoordinatorError):
    code = "REASON_REQUIRED"
    status = 422
    title = "A reason is required"


class PolicyInvalid(CoordinatorError):
    code = "POLICY_INVALID"
    status = 422
    title = "The policy is not valid"


class ArtifactUnknown(NotFound):
    code = "ARTIFACT_UNKNOWN"
    title = "No release of the tenant pins an artifact with this digest"


class ArtifactNotStored(NotFound):
    code = "ARTIFACT_NOT_STORED"
    title = "The coordinator does not store the bytes of this artifact"


class ArtifactMissing(CoordinatorError):
    code = "ARTIFACT_MISSING"
    status = 409
    title = "A stored artifact of the release is missing"


class ArtifactAltered(CoordinatorError):
    code = "ARTIFACT_ALTERED"
    status = 409
    title = "A stored artifact of the release does not match its digest"


class ArtifactUnverified(CoordinatorError):
    code = "ARTIFACT_UNVERIFIED"
    status = 503
    title = "A stored artifact of the release was written again and is being checked"


class ArtifactStoreUnavailable(CoordinatorError):
    code = "ARTIFACT_STORE_UNAVAILABLE"
    status = 503
    title = "The artifact store is unavailable"


class ArtifactStoreUnreliable(ArtifactStoreUnavailable):
    """So many stored artifacts look wrong that the store is probably at fault."""


class ApprovalRequired(CoordinatorError):
    code = "APPROVAL_REQUIRED"
    status = 409
    title = "The pipeline's policy requires that other people approve the activation"


class OverrideNotAllowed(CoordinatorError):
    code = "OVERRIDE_NOT_ALLOWED"
    status = 409
    title = "The pipeline's policy allows no emergency override"


class RequestUnknown(NotFound):
    code = "REQUEST_UNKNOWN"
    title = "The pipeline has no such activation request"


class RequestNotOpen(CoordinatorError):
    code = "REQUEST_NOT_OPEN"
    status = 409
    title = "The activation request is already decided, or has ended"


class RequestRestarted(CoordinatorError):
    code = "REQUEST_RESTARTED"
    status = 409
    title = "The activation request has begun a new round, because what it was made on has moved"


class RequestOutdated(CoordinatorError):
    code = "REQUEST_OUTDATED"
    status = 409
    title = "What was approved is not what would be activated now"


class OwnRequest(CoordinatorError):
    code = "OWN_REQUEST"
    status = 403
    title = "A person cannot vote on their own request"


class AlreadyVoted(CoordinatorError):
    code = "ALREADY_VOTED"
    status = 409
    title = "The person has voted otherwise in this round"


class ActivationTimeInvalid(CoordinatorError):
    code = "ACTIVATION_TIME_INVALID"
    status = 422
    title = "The time of the activation is not in the future, or too far in it"


class WorkerRequired(CoordinatorError):
    code = "WORKER_REQUIRED"
    status = 409
    title = "The pipeline's policy requires a worker that may run the release"


class SmokeTestRequired(CoordinatorError):
    code = "SMOKE_TEST_REQUIRED"
    status = 409
    title = "The pipeline's policy requires a recent, passed smoke test of the release"


class SignatureRequired(CoordinatorError):
    code = "SIGNATURE_REQUIRED"
    status = 409
    title = "The pipeline's policy requires a release that a trusted key has signed"


class AttachmentUnknown(NotFound):
    code = "ATTACHMENT_UNKNOWN"
    title = "No release of the pipeline has an attachment with this digest"


class AttachmentsFull(CoordinatorError):
    code = "ATTACHMENTS_FULL"
    status = 409
    title = "The release has the maximum number of attachments"


class KeyUnknown(NotFound):
    code = "KEY_UNKNOWN"
    title = "The tenant has no such trusted key"


class KeyInvalid(CoordinatorError):
    code = "KEY_INVALID"
    status = 422
    title = "The trusted key is not valid"


class KeyConflict(CoordinatorError):
    code = "KEY_CONFLICT"
    status = 409
    title = "The tenant already has this key or a key with this name"


class UploadUnknown(NotFound):
    code = "UPLOAD_UNKNOWN"
    title = "The tenant has no such upload"


class UploadNotOpen(CoordinatorError):
    code = "UPLOAD_NOT_OPEN"
    status = 409
    title = "The upload is no longer open"


class UploadIncomplete(CoordinatorError):
    code = "UPLOAD_INCOMPLETE"
    status = 409
    title = "Some parts of the upload are missing"


class DirectUploadsUnavailable(CoordinatorError):
    code = "DIRECT_UPLOADS_UNAVAILABLE"
    status = 409
    title = "The artifact store does not support direct uploads"


class DirectUploadsFull(CoordinatorError):
    code = "DIRECT_UPLOADS_FULL"
    status = 409
    title = "The tenant has too many open uploads"
