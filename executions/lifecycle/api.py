"""REST: re-drives and cancels executions, and shows their events and dead letters.

A stream of events is a series of complete responses (ADR 93). Each has the events after `Last-Event-ID`. The client
connects again at once, as the standard says. `coordinator.waits` holds a request for which there is no event yet.
"""

import json
import re
import uuid
from typing import Any, ClassVar, Final

from django.db.models import QuerySet
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.urls import path
from django_filters import rest_framework as filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from executions import errors
from executions.awaits.api import FORMER_ID_HELP, any_of
from executions.failures.queries import letters_on
from executions.former_paths.api import with_question_id
from executions.inspection.api import BUSINESS_KEY_HELP, ExecutionView, PinView
from executions.lifecycle import interventions, queries
from executions.lifecycle.interventions import Answer, Redriven
from executions.models import DeadLetter, ExecutionEvent
from executions.models.states import TERMINAL, State
from executions.state_machine.dead_letters import letters
from foundation.api.fields import Flag, StrictSerializer, Text, Uuid, WholeNumber
from foundation.errors import InvalidRequest, TooManyRequests, require_valid
from releases.errors import ReleaseRetired
from tenancy.api.authentication import WITHHELD, holds_any, withhold
from tenancy.api.operations import TENANT, TenantView, View, listing, operation, refuses
from tenancy.audit.acts import Act, declares
from tenancy.roles import Scope

LONGEST_REASON = 1000
HIGHEST_VERSION = 2**63 - 1
STATES = [state.value for state in State]
START_HELP = (
    "`input` runs all steps. `checkpoint` runs only those after the checkpoint of the old execution. It is refused "
    "unless it is proven that the release can continue from it."
)


REPLACED_HELP = "Run the work again even if another execution carries it on. The event then names that one."


class CancelRequest(StrictSerializer):
    reason = Text(max_length=LONGEST_REASON, required=False, allow_blank=True, default="")
    expectedVersion = WholeNumber(
        min_value=0,
        max_value=HIGHEST_VERSION,
        required=False,
        allow_null=True,
        default=None,
        source="expected_version",
        help_text="Reject the request unless the execution still has this version.",
    )


class ReplacedAnswer(StrictSerializer):
    schema_rules: ClassVar = any_of("questionId", "interactionId", required="response")

    questionId = Uuid(required=False, allow_null=True, default=None, source="question_id")
    interactionId = Uuid(required=False, allow_null=True, default=None, help_text=FORMER_ID_HELP)
    response = serializers.JSONField(allow_null=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs = with_question_id(attrs)
        if attrs["question_id"] is None:
            raise serializers.ValidationError({"questionId": serializers.ErrorDetail("is required", "required")})
        return attrs


class RedriveRequest(CancelRequest):
    allowFailed = Flag(
        required=False,
        default=False,
        source="allow_failed",
        help_text="Also accept an execution that is FAILED: its error was reported as one that a retry cannot help, or "
        "a worker may have carried it out already (`OUTCOME_UNKNOWN`).",
    )
    allowRevoked = Flag(
        required=False,
        default=False,
        source="allow_revoked",
        help_text="Run the execution even if its release is revoked.",
    )
    allowReplaced = Flag(required=False, default=False, source="allow_replaced", help_text=REPLACED_HELP)
    answer = ReplacedAnswer(
        required=False,
        allow_null=True,
        default=None,
        help_text="Another answer to a question whose answer the worker could not read (UNDECODABLE_PAYLOAD). The "
        f"question keeps the first one. This also needs the scope `{Scope.ANSWER.value}`.",
    )


class RedriveView(serializers.Serializer[Redriven]):
    executionId = serializers.UUIDField(source="execution.id")
    pin = PinView(source="execution")
    previousStatus = serializers.ChoiceField(choices=STATES, source="previous_status")
    status = serializers.ChoiceField(choices=STATES, source="execution.status")
    version = serializers.IntegerField(source="execution.version")
    currentStepIndex = serializers.IntegerField(source="execution.current_step_index")
    attempt = serializers.IntegerField(source="execution.attempt")
    updatedAt = serializers.DateTimeField(source="execution.updated_at")


class DeadLetterView(serializers.Serializer[DeadLetter]):
    executionId = serializers.UUIDField(source="execution_id")
    pin = PinView(source="execution")
    idempotencyKey = serializers.CharField(source="execution.execution_key")
    businessKey = serializers.CharField(source="execution.business_key", help_text=BUSINESS_KEY_HELP)
    executionStatus = serializers.ChoiceField(
        choices=STATES, source="execution.status", help_text="The current status of the execution."
    )
    executionVersion = serializers.IntegerField(source="execution_version")
    transitionKey = serializers.CharField(source="transition_key")
    terminalStatus = serializers.CharField(source="terminal_status")
    reason = serializers.ChoiceField(choices=DeadLetter.Reason.choices)
    errorCode = serializers.CharField(source="error_code")
    errorMessage = serializers.CharField(source="error_message", allow_null=True, help_text=WITHHELD)
    retryable = serializers.BooleanField()
    retriesObserved = serializers.IntegerField(source="retries_observed")
    stepIndex = serializers.IntegerField(
        source="step_index", help_text="The step at which the failed transition started."
    )
    failedStepIndex = serializers.IntegerField(
        source="failed_step_index", help_text="The step that failed, or the same as `stepIndex` if that is unknown."
    )
    failedStepName = serializers.CharField(source="step.name", help_text="Empty if the contract does not name it.")
    failureGroupId = serializers.UUIDField(source="group_id", allow_null=True, help_text="Null for smoke tests.")
    createdAt = serializers.DateTimeField(source="created_at")

    def to_representation(self, instance: DeadLetter) -> dict[str, Any]:
        shown = super().to_representation(instance)
        withhold(["errorMessage"], shown, self.context)
        return shown


class DeadLetterFilter(filters.FilterSet):
    pipelineId = filters.CharFilter(field_name="pipeline__pipeline_id", method="on_releases")
    releaseVersion = filters.CharFilter(field_name="release_version", method="on_releases")
    errorCode = filters.CharFilter(field_name="error_code", help_text="The code of the failure.")
    reason = filters.ChoiceFilter(choices=DeadLetter.Reason.choices)
    executionId = filters.UUIDFilter(field_name="execution_id")
    failureGroupId = filters.UUIDFilter(field_name="group_id", help_text="Only of this failure group.")

    def on_releases(self, rows: QuerySet[DeadLetter], name: str, value: str) -> QuerySet[DeadLetter]:
        return letters_on(rows, **{name: value})


@operation("executions", "redriveExecution", RedriveView, body=RedriveRequest)
@declares(Act.EXECUTION_REDRIVE, Scope.OPERATE)
@refuses(
    errors.TenantNotAllowed,
    errors.ExecutionUnknown,
    errors.RedriveRefused,
    errors.VersionMismatch,
    errors.ExecutionChanged,
    ReleaseRetired,
    errors.ReleaseRevokedConfirmation,
    errors.ExecutionReplaced,
    errors.QuestionUnknown,
    errors.RecipientRequired,
    errors.AnswerInvalid,
)
def redrive(view: TenantView, execution_id: uuid.UUID, answer: dict[str, Any] | None, **body: Any) -> Any:
    """Run a failed execution again, from the step that failed, on the release to which it is pinned.

    Its retries are counted from zero again. The body is optional.
    """
    if answer is not None:
        view.require(Scope.ANSWER)
    replaced = Answer(**answer, person=view.request.user) if answer is not None else None
    return interventions.redrive(view.tenant, execution_id, actor=view.actor, answer=replaced, **body)


@operation("executions", "cancelExecution", ExecutionView, body=CancelRequest)
@declares(Act.EXECUTION_CANCEL, Scope.OPERATE)
@refuses(errors.ExecutionUnknown, errors.CancelRefused, errors.VersionMismatch, errors.ExecutionChanged)
def cancel(view: TenantView, execution_id: uuid.UUID, **body: Any) -> Any:
    """Cancel an execution that has not ended. Cancelling it again changes nothing. The body is optional."""
    return interventions.cancel(view.tenant, execution_id, actor=view.actor, **body)


@listing("executions", DeadLetter, DeadLetterView, DeadLetterFilter, ordering=("-created_at", "-id"))
def dead_letters(view: TenantView) -> Any:
    """The failures of executions, newest first."""
    return letters(view.tenant)


# --- events ---

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
@refuses(errors.ExecutionUnknown, TooManyRequests)
def execution_events(view: TenantView, execution_id: uuid.UUID) -> Any:
    """The history of an execution, oldest event first.

    With `Accept: text/event-stream`, the response is a stream of server-sent events. Each message has the event as its
    data, and its `sequence` as its id. A response ends after the events that it has, or after 20 seconds without one;
    clients connect again with `Last-Event-ID`. The status 204 says that the execution has ended and they have all
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
        last = last_event(request.headers.get("Last-Event-ID", "0"))
        if request.accepted_renderer.media_type == STREAM:
            return _stream(self, names["execution_id"], last)
        listed: HttpResponseBase = super().get(request, **names)
        return listed


def _stream(view: TenantView, execution_id: uuid.UUID, last: int) -> HttpResponse:
    """Return the new events. The execution is read first: what it did before its end is then among its events."""
    execution = queries.state(view.tenant, execution_id)
    events: Any = queries.events(execution).filter(sequence__gt=last)[:MOST_EVENTS]
    shown: Any = EventView(events, many=True, context={"request": view.request}).data
    if not shown and execution.status in TERMINAL:
        return HttpResponse(status=204)
    messages = "".join(f"id: {event['sequence']}\ndata: {json.dumps(event)}\n\n" for event in shown)
    body = f"{RETRY}{messages}" if shown else NO_NEWS
    return HttpResponse(body, content_type=STREAM, headers={"Cache-Control": "no-store"})


def last_event(text: str) -> int:
    """Return the value of the header `Last-Event-ID`. Raises `InvalidRequest`."""
    is_valid = re.fullmatch(r"[0-9]{1,10}", text, re.ASCII) and int(text) < 2**31
    require_valid(InvalidRequest, {"Last-Event-ID": "" if is_valid else "must be the `sequence` of an event"})
    return int(text)


_events: View = ExecutionEvents.as_view()
urlpatterns = [
    path("executions/<uuid:execution_id>/redrive", redrive, name="execution-redrive"),
    path("executions/<uuid:execution_id>/cancel", cancel, name="execution-cancel"),
    path("executions/<uuid:execution_id>/events", _events, name="execution-events"),
    path("dead-letters", dead_letters, name="dead-letters"),
]
