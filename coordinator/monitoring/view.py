"""`/metrics` of the web process, for scrapers that bear METRICS_TOKEN."""

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from coordinator.monitoring.process import exposition
from foundation.telemetry.exposition import CONTENT_TYPE, TEXT, bears


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Respond with the metrics of all web processes of the same parent. Without METRICS_TOKEN there is no such page."""
    if not settings.METRICS_TOKEN:
        raise Http404
    if not bears(request.headers.get("Authorization", ""), settings.METRICS_TOKEN):
        challenge = {"WWW-Authenticate": "Bearer"}
        return HttpResponse("The token is missing or wrong.\n", TEXT, status=401, headers=challenge)
    return HttpResponse(exposition.text(), CONTENT_TYPE)
