"""REST: the events of an execution, as a list or as a stream of server-sent events.

A stream is a series of complete responses (ADR 109). Each has the events after `Last-Event-ID`, and the client connects
again at once, as the standard demands of it. `coordinator.waits` holds a request for which there is no event yet.
"""

import json
import re
import uuid
from typing import Any, Final

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.urls import path
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from executions.errors import ExecutionUnknown
from executions.lifecycle import queries
from executions.models import ExecutionEvent
from executions.models.states import TERMINAL, State
from foundation.errors import InvalidRequest
from tenancy.api.authentication import holds_any
from tenancy.api.operations import TENANT, TenantView, View, listing, refuses
from tenancy.roles import Scope

STREAM: Final = "text/event-stream"
MOST_EVENTS: Final = 500
"""How many events one response of a stream has at most."""
RETRY: Final = "retry: 100\n"
"""Lets clients connect again after 100 milliseconds. Their default is a few seconds."""
NO_NEWS: Final = f"{RETRY}: no new events\n\n".encode()
LAST_EVENT: Final = OpenApiParameter(
    "Last-Event-ID",
    {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
    OpenApiParameter.HEADER,
    description="With `Accept: text/event-stream`: send the events after the one with this `sequence`.",
)


class EventView(serializers.Serializer[ExecutionEvent]):
    sequence = serializers.IntegerField()
    kind = serializers.CharField()
    status = serializers.ChoiceField(choices=[state.value for state in State])
    actor = serializers.CharField()
    data = serializers.DictField(  # type: ignore[assignment]  # the member's name; `data` is also a property of DRF
        help_text="`errorMessage` and `traceback` are missing if the token lacks the scope `payloads:read`."
    )
    at = serializers.DateTimeField()

    def to_representation(self, instance: ExecutionEvent) -> dict[str, Any]:
        shown = super().to_representation(instance)
        if not holds_any(self.context["request"].auth, Scope.PAYLOADS):
            shown["data"] = queries.without_payloads(shown["data"])
        return shown


class StreamRenderer(JSONRenderer):
    """Lets clients ask for a stream. It renders nothing, because `_stream` does."""

    media_type = STREAM


@listing("executions", ExecutionEvent, EventView, ordering="sequence")
@refuses(ExecutionUnknown)
def execution_events(view: TenantView, execution_id: uuid.UUID) -> Any:
    """The history of an execution, oldest event first.

    With `Accept: text/event-stream`, the response is a stream of server-sent events. Each message has the event as its
    data, and its `sequence` as its id. A response ends after the events that it has, or after 20 seconds without one;
    clients connect again with `Last-Event-ID`. The status 204 tells them that the execution has ended and they have all
    its events.
    """
    return queries.events(queries.execution(view.tenant, execution_id))


_List: Any = getattr(execution_events, "cls")  # noqa: B009 - functions have no such attribute


@extend_schema(parameters=[TENANT], tags=["executions"])
class ExecutionEvents(_List):
    __doc__ = _List.__doc__
    renderer_classes = (JSONRenderer, StreamRenderer)

    @extend_schema(
        parameters=[LAST_EVENT],
        responses={(200, "application/json"): EventView(many=True), (200, STREAM): OpenApiTypes.STR},
    )
    def get(self, request: Request, **names: Any) -> HttpResponseBase:
        if request.accepted_renderer.media_type == STREAM:
            return _stream(self, names["execution_id"])
        listed: HttpResponseBase = super().get(request, **names)
        return listed


def _stream(view: TenantView, execution_id: uuid.UUID) -> HttpResponse:
    """Return the new events. The execution is read first: what it did before its end is then among its events."""
    last = last_event(view.request.headers.get("Last-Event-ID", "0"))
    execution = queries.state(view.tenant, execution_id)
    found: Any = queries.events(execution).filter(sequence__gt=last)[:MOST_EVENTS]
    shown: Any = EventView(found, many=True, context={"request": view.request}).data
    if not shown and execution.status in TERMINAL:
        return HttpResponse(status=204)
    messages = "".join(f"id: {event['sequence']}\ndata: {json.dumps(event)}\n\n" for event in shown)
    body = f"{RETRY}{messages}" if shown else NO_NEWS
    return HttpResponse(body, content_type=STREAM, headers={"Cache-Control": "no-store"})


def last_event(text: str) -> int:
    """Return the value of the header `Last-Event-ID`. Raises `InvalidRequest`."""
    if not re.fullmatch(r"[0-9]{1,10}", text, re.ASCII) or int(text) >= 2**31:
        raise InvalidRequest("Last-Event-ID: must be the `sequence` of an event.")
    return int(text)


_view: View = ExecutionEvents.as_view()
urlpatterns = [path("executions/<uuid:execution_id>/events", _view, name="execution-events")]
