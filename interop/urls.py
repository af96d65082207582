"""The URLs of the compatibility surface."""

from django.http import HttpRequest, JsonResponse
from django.urls import include, path

from interop import admin, control_plane, deployments, submissions


def live(request: HttpRequest) -> JsonResponse:
    """Respond with 200, without authentication. Existing clients wait for this before they start."""
    return JsonResponse({"status": "UP", "checks": []})


urlpatterns = [
    path("tpf/admin/", include(admin.urlpatterns)),
    path("tpf/control-plane/", include(submissions.urlpatterns)),
    path("tpf/control-plane/", include(control_plane.urlpatterns)),
    path("pipeline/", include(control_plane.application_urlpatterns)),
    path("api/v1/organizations/", include(deployments.urlpatterns)),
    path("q/health/live", live),
]
