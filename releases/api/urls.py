"""The addresses of the release side, relative to `/api/v1/tenants/{tenant}/`."""

from releases.api import artifact_uploads, artifacts, attachments, history, pipelines, releases, trusted_keys

urlpatterns = [
    *pipelines.urlpatterns,
    *releases.urlpatterns,
    *history.urlpatterns,
    *artifacts.urlpatterns,
    *artifact_uploads.urlpatterns,
    *trusted_keys.urlpatterns,
    *attachments.urlpatterns,
]
