"""The OpenAPI document: the settings of drf-spectacular."""

from foundation.api.problem_shape import PROBLEM

SPECTACULAR_SETTINGS = {
    "TITLE": "Durable coordinator",
    "DESCRIPTION": "Register releases, activate them, and submit executions that stay pinned to the exact release.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "APPEND_COMPONENTS": {"schemas": {"Problem": PROBLEM}},
    "ENUM_NAME_OVERRIDES": {
        "ArtifactState": "releases.models.Blob.State",
        "SignaturePolicy": "releases.models.SignaturePolicy",
        "MissingArtifacts": "releases.models.MissingArtifacts",
        "UnverifiedWorkers": "releases.models.UnverifiedWorkers",
        "ArtifactUploadStatus": "releases.states.UploadStatus",
        "DifferenceArea": "wire.comparison.differences.Area",
        "DifferenceKind": "wire.comparison.differences.Kind",
        "DifferenceImpact": "wire.comparison.differences.Impact",
        "DescriptorProfile": "wire.documents.descriptor.Profile",
        "ReleaseStatus": "releases.states.Status",
        "ExecutionStatus": "executions.models.states.State",
        "CampaignKind": "executions.models.Campaign.Kind",
        "CampaignStatus": "executions.models.Campaign.Status",
        "InteractionStatus": "executions.models.Interaction.Status",
        "CampaignItemOutcome": "executions.models.CampaignItem.Result",
        "DeadLetterReason": "executions.models.DeadLetter.Reason",
        "WorkerState": "executions.models.WorkerEligibility.State",
        "WorkerCode": "executions.models.CodeOrigin",
        "WorkerIneligibility": "executions.models.WorkerEligibility.Reason",
    },
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "SCHEMA_PATH_PREFIX": "/api/v1/tenants/{tenant}",
}
