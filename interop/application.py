"""`/pipeline/interactions/complete`: where webhooks of the founding framework are answered by default (C.6, F.8).

The application of the framework lets anybody in there. Here the resume token that came with the question does: without
one nothing is answered. The rest of that application's API is not served.
"""

from typing import Any

from django.http import HttpRequest
from django.urls import path

from interop.control_plane import answered
from interop.surface import CONTROL_PLANE, Refusal, TpfView, body_of, identifier, text_of
from wire.resume_token import claimed


class Complete(TpfView):
    """Takes an answer as plain JSON. The tenant is named by a header, else by the token."""

    surface = CONTROL_PLANE
    bearer = False

    def post(self, request: HttpRequest) -> dict[str, Any]:
        body = body_of(request)
        if body is None:
            raise Refusal(400, "Await completion request is required")
        named = {name: text_of(body, name) for name in ("interactionId", "correlationId", "resumeToken")}
        if not (named["interactionId"] or named["correlationId"]):
            raise Refusal(400, "interactionId or correlationId is required")
        if body.get("responsePayload") is None:
            raise Refusal(400, "responsePayload is required")
        if not named["resumeToken"]:
            raise Refusal(401)
        actor = identifier(text_of(body, "actor"), "actor", 150)
        told = request.headers.get("x-tenant-id", "").strip() or claimed(named["resumeToken"], "tenantId")
        return answered(self.known_tenant(told), named, body["responsePayload"], actor)


urlpatterns = [path("interactions/complete", Complete.as_view())]
