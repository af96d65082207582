"""Whether this web process can serve: for a load balancer, and for a person with curl."""

from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe


@require_safe
def live(request: HttpRequest) -> JsonResponse:
    """200 while the process answers at all."""
    return JsonResponse({"status": "UP"})


@require_safe
def ready(request: HttpRequest) -> JsonResponse:
    """200 while the database answers, without which nothing can be accepted; 503 otherwise."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return JsonResponse({"status": "DOWN", "database": "DOWN"}, status=503)
    return JsonResponse({"status": "UP", "database": "UP"})
