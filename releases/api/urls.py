"""The addresses of the release side, relative to `/api/v1/tenants/{tenant}/`."""

from governance.activation import api
from governance.comparison import api as comparison
from governance.gradual import api as gradual_activations
from governance.requests import api as requests
from governance.retirement import api as retirements
from releases.api import artifact_uploads, artifacts, attachments, history, pipelines, releases, trusted_keys

urlpatterns = [
    *pipelines.urlpatterns,
    *releases.urlpatterns,
    *retirements.urlpatterns,
    *api.urlpatterns,
    *requests.urlpatterns,
    *gradual_activations.urlpatterns,
    *comparison.urlpatterns,
    *history.urlpatterns,
    *artifacts.urlpatterns,
    *artifact_uploads.urlpatterns,
    *trusted_keys.urlpatterns,
    *attachments.urlpatterns,
]
