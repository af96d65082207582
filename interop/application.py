"""`/pipeline/interactions/complete`: the framework's default URL for answers to webhooks (wire protocol C.6, F.8).

The framework's application does not authenticate these requests. Here they need the resume token of the question. The
other URLs of that application are not served.
"""

from typing import Any

from django.http import HttpRequest
from django.urls import path

from interop.control_plane import complete
from interop.surface import CONTROL_PLANE, Refusal, TpfView, body_of, identifier, text_of
from wire.resume_token import claimed


class Complete(TpfView):
    """Accepts an answer in plain JSON. The tenant is that of the header `x-tenant-id`, or of the token."""

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
        tenant_id = request.headers.get("x-tenant-id", "").strip() or claimed(named["resumeToken"], "tenantId")
        return complete(self.known_tenant(tenant_id), named, body["responsePayload"], actor)


urlpatterns = [path("interactions/complete", Complete.as_view())]
