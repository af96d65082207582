"""The addresses of the release side, relative to `/api/v1/tenants/{tenant}/`."""

from releases import api
from releases.artifacts import api as artifacts
from releases.registration import api as releases
from releases.trust import api as trusted_keys

urlpatterns = [
    *api.urlpatterns,
    *releases.urlpatterns,
    *artifacts.urlpatterns,
    *trusted_keys.urlpatterns,
]
