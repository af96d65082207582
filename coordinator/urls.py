"""The URLs of the web process."""

from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.urls import URLPattern, include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView

from alerts import api as alerts_api
from coordinator import health, palette
from coordinator.monitoring import status as monitoring
from executions import urls as executions_urls
from executions.awaits.api import Resume
from governance import urls as governance_urls
from interop import urls as interop_urls
from releases import urls as releases_urls
from tenancy import invitation_api, invitation_pages, member_api
from tenancy.audit import api as audit_api
from tenancy.user_pages import OwnPasswordView

# Django tries these in order. The busiest URL, that of submissions, is first. The URL of a release is the last of its
# kind, because a release version may have slashes.
tenant_api = [
    *executions_urls.urlpatterns,
    *governance_urls.urlpatterns,
    *releases_urls.urlpatterns,
    *member_api.urlpatterns,
    *invitation_api.urlpatterns,
    *audit_api.urlpatterns,
    *alerts_api.urlpatterns,
    *monitoring.urlpatterns,
]

admin.autodiscover()
sign_in: list[URLPattern] = []
if settings.OIDC_ISSUER:
    from tenancy.sign_in import views

    sign_in += views.urlpatterns
if settings.SECOND_FACTOR:
    from tenancy.sign_in import second_factor_pages

    sign_in += second_factor_pages.urlpatterns
# allauth registers pages for its tables, which would let superusers change who is who.
for model in apps.get_models():
    if model.__module__.startswith("allauth.") and admin.site.is_registered(model):
        admin.site.unregister(model)
urlpatterns = [
    path("api/v1/tenants/<str:tenant>/", include((tenant_api, "api"))),
    path("", RedirectView.as_view(pattern_name="admin:index"), name="home"),
    # Before unfold's page of the same address, which keeps results for minutes and finds only complete keys.
    path("admin/search/", admin.site.admin_view(palette.search)),
    # Before Django's page, which neither limits nor records wrong guesses of the old password.
    path("admin/password_change/", admin.site.admin_view(OwnPasswordView.as_view())),
    *sign_in,
    *invitation_pages.urlpatterns,
    path("admin/", admin.site.urls),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/v1/resume", Resume.as_view(), name="resume"),
    path("health/live", health.live, name="live"),
    path("health/ready", health.ready, name="ready"),
    path("metrics", monitoring.metrics, name="metrics"),
    *interop_urls.urlpatterns,
]
handler400 = "foundation.api.problem.malformed"
handler404 = "foundation.api.problem.not_found"
handler500 = "foundation.api.problem.failed"
