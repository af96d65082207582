"""The addresses of the release side, relative to `/api/v1/tenants/{tenant}/`."""

from releases.api import artifacts, history, pipelines, releases, trusted_keys

urlpatterns = [
    *pipelines.urlpatterns,
    *releases.urlpatterns,
    *history.urlpatterns,
    *artifacts.urlpatterns,
    *trusted_keys.urlpatterns,
]
