"""The addresses of the compatibility surface."""

from django.http import HttpRequest, JsonResponse
from django.urls import include, path

from interop import admin, application, control_plane


def live(request: HttpRequest) -> JsonResponse:
    """What existing clients wait for before they begin: the process answers. Like `/health/live`, it asks nobody."""
    return JsonResponse({"status": "UP", "checks": []})


urlpatterns = [
    path("tpf/admin/", include(admin.urlpatterns)),
    path("tpf/control-plane/", include(control_plane.urlpatterns)),
    path("pipeline/", include(application.urlpatterns)),
    path("q/health/live", live),
]
