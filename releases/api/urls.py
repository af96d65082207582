"""The addresses of the release side, relative to `/api/v1/tenants/{tenant}/`."""

from releases.api import (
    activations,
    artifact_uploads,
    artifacts,
    attachments,
    comparison,
    gradual_activations,
    history,
    pipelines,
    releases,
    requests,
    retirements,
    trusted_keys,
)

urlpatterns = [
    *pipelines.urlpatterns,
    *releases.urlpatterns,
    *retirements.urlpatterns,
    *activations.urlpatterns,
    *requests.urlpatterns,
    *gradual_activations.urlpatterns,
    *comparison.urlpatterns,
    *history.urlpatterns,
    *artifacts.urlpatterns,
    *artifact_uploads.urlpatterns,
    *trusted_keys.urlpatterns,
    *attachments.urlpatterns,
]
