"""The URLs of the web process."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView

from coordinator import health
from executions.api import campaigns, interactions, operators, submissions, workers
from executions.api import executions as executions_api
from interop import urls as interop_urls
from releases.api import urls as releases_urls

tenant_api = [
    *releases_urls.urlpatterns,
    *submissions.urlpatterns,
    *executions_api.urlpatterns,
    *operators.urlpatterns,
    *campaigns.urlpatterns,
    *interactions.urlpatterns,
    *workers.urlpatterns,
]

admin.autodiscover()
urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index"), name="home"),
    path("admin/", admin.site.urls),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/v1/tenants/<str:tenant>/", include((tenant_api, "api"))),
    path("api/v1/resume", interactions.Resume.as_view(), name="resume"),
    path("health/live", health.live, name="live"),
    path("health/ready", health.ready, name="ready"),
    *interop_urls.urlpatterns,
]
handler400 = "foundation.api.problem.malformed"
handler404 = "foundation.api.problem.not_found"
handler500 = "foundation.api.problem.failed"
