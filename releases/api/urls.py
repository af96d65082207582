"""The addresses of the release side, relative to `/api/v1/tenants/{tenant}/`."""

from releases.api import (
    activations,
    artifact_uploads,
    artifacts,
    attachments,
    comparison,
    deployments,
    descriptors,
    gradual_activations,
    history,
    pipelines,
    releases,
    requests,
    retirements,
    revocations,
    rollbacks,
    trusted_keys,
)

urlpatterns = [
    *pipelines.urlpatterns,
    *releases.urlpatterns,
    *revocations.urlpatterns,
    *retirements.urlpatterns,
    *activations.urlpatterns,
    *requests.urlpatterns,
    *gradual_activations.urlpatterns,
    *comparison.urlpatterns,
    *rollbacks.urlpatterns,
    *history.urlpatterns,
    *descriptors.urlpatterns,
    *deployments.urlpatterns,
    *artifacts.urlpatterns,
    *artifact_uploads.urlpatterns,
    *trusted_keys.urlpatterns,
    *attachments.urlpatterns,
]
