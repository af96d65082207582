"""Every address of the web process."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView

from coordinator import health
from executions import api as executions_api
from executions import campaigns_api, interactions_api, operators_api, submissions_api, workers_api
from interop import urls as interop_urls
from releases import api as releases_api
from releases import trust_api, uploads_api

tenant_api = [
    *releases_api.urlpatterns,
    *uploads_api.urlpatterns,
    *trust_api.urlpatterns,
    *submissions_api.urlpatterns,
    *executions_api.urlpatterns,
    *operators_api.urlpatterns,
    *campaigns_api.urlpatterns,
    *interactions_api.urlpatterns,
    *workers_api.urlpatterns,
]

admin.autodiscover()
urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index"), name="home"),
    path("admin/", admin.site.urls),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/v1/tenants/<str:tenant>/", include((tenant_api, "api"))),
    path("api/v1/resume", interactions_api.Resume.as_view(), name="resume"),
    path("health/live", health.live, name="live"),
    path("health/ready", health.ready, name="ready"),
    *interop_urls.urlpatterns,
]
handler400 = "coordinator.api.problem.malformed"
handler404 = "coordinator.api.problem.not_found"
handler500 = "coordinator.api.problem.failed"
