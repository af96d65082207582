"""REST: taking executions in, one by one and many at once. The hot path: it writes its answers without serializers."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import path
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from executions.api.executions import TENANT, Executions, ExecutionView
from executions.errors import IdempotencyKeyReused, InputInvalid, TenantNotAllowed, WorkerNotChecked, WorkerUnavailable
from executions.lifecycle.states import State
from executions.models import Execution
from executions.submission.submission import Order, Submission, submit_many
from foundation.api.body_budget import LARGE_BYTES
from foundation.api.fields import Identifier, SegmentIdentifier, StrictSerializer
from foundation.api.parsers import StrictJSONParser
from foundation.api.problem import invalid, problem, refusal
from foundation.api.schema import PROBLEM_REFERENCE
from foundation.errors import CoordinatorError
from releases.errors import ActiveReleaseChanged, ArtifactAltered, ArtifactMissing, NoActiveRelease, PipelineUnknown
from releases.models import IDENTITY_LENGTH
from tenancy.access import actor
from tenancy.api.authentication import TokenAuthentication, remembered
from tenancy.api.tenant_view import TenantView
from tenancy.roles import Scope
from wire.documents import json_values
from wire.documents.json_reader import read_object
from wire.findings import DocumentError
from wire.identifying import is_identifier, is_segment

JSON, ANYTHING = "application/json", "*/*"
LONGEST_KEY = 200
MEMBERS = frozenset({"pipelineId", "input", "idempotencyKey", "expectedReleaseVersion"})


class SubmissionRequest(StrictSerializer):
    pipelineId = SegmentIdentifier(max_length=IDENTITY_LENGTH)
    input = serializers.JSONField(help_text="The first step's input; an array of items where that step takes many.")
    idempotencyKey = Identifier(
        max_length=LONGEST_KEY, help_text="Repeating a key with an equal input returns the first execution."
    )
    expectedReleaseVersion = SegmentIdentifier(
        max_length=IDENTITY_LENGTH,
        required=False,
        allow_null=True,
        default=None,
        help_text="Refuse unless this release is the active one.",
    )


class AcceptedView(ExecutionView):
    duplicate = serializers.BooleanField(default=False, help_text="The key was used before; this is what it made then.")
    dispatchDelayed = serializers.BooleanField(
        default=False,
        help_text="Messages do not arrive at the moment. The execution is durable and starts when they arrive again. "
        "Always false if the key was used before.",
    )


@extend_schema_field(PROBLEM_REFERENCE)
class _Problem(serializers.DictField):
    """A problem document (RFC 9457)."""


@extend_schema_field(SubmissionRequest(many=True))
class _Items(serializers.ListField):
    """A list of submissions. Each is checked separately."""


class VerdictView(serializers.Serializer[Any]):
    """One item of a batch: `execution` where it was accepted or known before, else `problem`; the other is null."""

    status = serializers.IntegerField(help_text="What the item would have been answered with by itself.")
    execution = AcceptedView(allow_null=True)
    problem = _Problem(allow_null=True)


class BatchRequest(StrictSerializer):
    items = _Items(
        min_length=1,
        max_length=settings.MAX_BATCH_ITEMS,
        help_text="Submissions, each as in a single request. An item that is not valid gets its own verdict too.",
    )


class BatchView(serializers.Serializer[Any]):
    items = VerdictView(many=True)


class BatchParser(StrictJSONParser):
    """The same strictness; a batch may be larger than other requests."""

    @property
    def limit(self) -> int:
        return int(settings.MAX_BATCH_BYTES)


class _TakesExecutions(TenantView):
    scopes: ClassVar = {"POST": Scope.SUBMIT}
    refusals: ClassVar = {
        "POST": (
            *(
                TenantNotAllowed,
                PipelineUnknown,
                IdempotencyKeyReused,
                NoActiveRelease,
                ActiveReleaseChanged,
                InputInvalid,
            ),
            *(ArtifactMissing, ArtifactAltered, WorkerUnavailable, WorkerNotChecked),
        )
    }

    def get_authenticators(self) -> list[BaseAuthentication]:
        """A submission holds its token against the database as it is written."""
        # While the API's schema is made there is no request.
        submits = self.request is not None and self.request.method == "POST"
        return [TokenAuthentication(from_memory=True)] if submits else super().get_authenticators()

    def take_in(self, orders: Sequence[Order]) -> list[Submission | CoordinatorError]:
        return submit_many(self.tenant, orders, actor=self.actor, token=self.token.digest)


@extend_schema(parameters=[TENANT], tags=["executions"])
class SubmittedExecutions(_TakesExecutions, Executions):
    """The tenant's executions, newest first."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """What is plainly a submission is judged at once, at two thirds of the cost; the framework has all else."""
        made = _taken_at_once(request, kwargs["tenant"]) if request.method == "POST" else None
        if made is None:
            return super().dispatch(request, *args, **kwargs)
        return refusal(made) if isinstance(made, CoordinatorError) else _answer(made, _address(request))

    @extend_schema(
        operation_id="submitExecution", request=SubmissionRequest, responses={202: AcceptedView, 200: AcceptedView}
    )
    def post(self, request: Request, tenant: str) -> HttpResponse:
        """Submit an execution. 202: it is durable, pinned to the active release, and will run.

        200: the idempotency key was used before with an equal input; this is the execution that it made.
        """
        [made] = self.take_in([_order(_body(request))])
        if isinstance(made, CoordinatorError):
            raise made
        return _answer(made, _address(self.request))


@extend_schema(parameters=[TENANT], tags=["executions"])
class Batch(_TakesExecutions):
    parser_classes = (BatchParser,)
    refusals: ClassVar = {}  # each item hears its own

    @extend_schema(operation_id="submitExecutions", request=BatchRequest, responses={200: BatchView})
    def post(self, request: Request, tenant: str) -> HttpResponse:
        """Submit up to 1,000 executions at once. Each gets its own verdict, in the order of the items.

        Everything with status 202 is durable once this answers. An item that is refused does not touch the others.
        """
        orders = [_verdict_on(item) for item in _items(_body(request))]
        made = iter(self.take_in([order for order in orders if isinstance(order, Order)]))
        address = _address(self.request)
        verdicts = [next(made) if isinstance(order, Order) else order for order in orders]
        return _json({"items": [_told(verdict, address) for verdict in verdicts]}, 200)


def _body(request: Request) -> Any:
    """Return the body and remove it from the request, which may exist until a full garbage collection."""
    body = request.data
    if type(body) is not dict:
        return body  # there was none
    members = dict(body)
    body.clear()
    return members


def _taken_at_once(request: HttpRequest, tenant: str) -> Submission | CoordinatorError | None:
    """What became of a plain request of a token that is remembered; None, and nothing is done, for any other."""
    token = remembered(request.META.get("HTTP_AUTHORIZATION", ""))
    if token is None or token.tenant.slug != tenant or Scope.SUBMIT.value not in token.usable_scopes:
        return None
    if request.META.get("CONTENT_TYPE") != JSON or request.META.get("HTTP_ACCEPT", ANYTHING) not in {ANYTHING, JSON}:
        return None
    if not request.META.get("CONTENT_LENGTH", "").isdecimal() or int(request.META["CONTENT_LENGTH"]) > LARGE_BYTES:
        return None
    try:
        asked = read_object(request.body, name="body", limit=int(settings.MAX_REQUEST_BYTES))
    except (DocumentError, RequestDataTooBig):
        return None
    if not _plain(asked):
        return None
    [made] = submit_many(token.tenant, [_order(asked)], actor=actor(token.user, token), token=token.digest)
    return made


def _address(request: HttpRequest | Request) -> str:
    """Where this tenant's executions are, whichever of the two paths was called."""
    return request.build_absolute_uri(request.path.removesuffix(":batch"))


def _answer(made: Submission, address: str) -> HttpResponse:
    body = accepted(made, address)
    answer = _json(body, 200 if made.duplicate else 202)
    answer["Location"] = body["links"]["self"]
    return answer


def _order(asked: Any) -> Order:
    """What the request asks for. The serializer has the last word; what is plainly right need not be put to it."""
    if not _plain(asked):
        checked = SubmissionRequest(data=asked)
        checked.is_valid(raise_exception=True)
        asked = checked.validated_data
    return Order(asked["pipelineId"], asked["input"], asked["idempotencyKey"], asked.get("expectedReleaseVersion"))


def _plain(asked: Any) -> bool:
    """Whether the serializer could not object. It may have nothing against what is not plain, too."""
    if not isinstance(asked, dict) or not MEMBERS.issuperset(asked) or asked.get("input") is None:
        return False
    pipeline_id, key = asked.get("pipelineId"), asked.get("idempotencyKey")
    return (
        isinstance(pipeline_id, str)
        and len(pipeline_id) <= IDENTITY_LENGTH
        and is_segment(pipeline_id)
        and isinstance(key, str)
        and len(key) <= LONGEST_KEY
        and is_identifier(key)
        and asked.get("expectedReleaseVersion") is None
    )


def _items(asked: Any) -> list[Any]:
    """The items of a batch, not yet looked into."""
    whole = isinstance(asked, dict) and set(asked) == {"items"} and isinstance(asked["items"], list)
    if not whole or not 1 <= len(asked["items"]) <= settings.MAX_BATCH_ITEMS:
        BatchRequest(data=asked).is_valid(raise_exception=True)
    items: list[Any] = asked["items"]
    return items


def _verdict_on(item: Any) -> Order | CoordinatorError:
    try:
        return _order(item)
    except ValidationError as error:
        return invalid(error)


def _told(verdict: Submission | CoordinatorError, address: str) -> dict[str, Any]:
    if isinstance(verdict, CoordinatorError):
        return {"status": verdict.status, "execution": None, "problem": problem(verdict)}
    return {"status": 200 if verdict.duplicate else 202, "execution": accepted(verdict, address), "problem": None}


def accepted(made: Submission, address: str) -> dict[str, Any]:
    """What `AcceptedView` describes, as the answer has it."""
    here = f"{address}/{made.execution_id}"
    created = _instant(made.created_at)
    return {
        "executionId": str(made.execution_id),
        "pin": {
            "pipelineId": made.pipeline_id,
            "contractVersion": made.contract_version,
            "releaseVersion": made.release_version,
        },
        "idempotencyKey": made.idempotency_key,
        **(_AS_NEW if made.earlier is None else _as_it_is(made.earlier)),
        "submittedBy": made.submitted_by,
        "createdAt": created,
        **(_times(made.earlier) if made.earlier else {"nextDueAt": created, "updatedAt": created, "finishedAt": None}),
        "links": {"self": here, "result": f"{here}/result", "events": f"{here}/events"},
        "duplicate": made.duplicate,
        "dispatchDelayed": made.dispatch_delayed,
    }


_AS_NEW = {
    "status": State.QUEUED.value,
    "worker": None,
    "runningSince": None,
    "version": 0,
    "currentStepIndex": 0,
    "attempt": 0,
    "error": None,
}


def _as_it_is(earlier: Execution) -> dict[str, Any]:
    error = {"code": earlier.error_code, "message": earlier.error_message} if earlier.error_code else None
    return {
        "status": earlier.status,
        "worker": earlier.lease_worker,
        "runningSince": _instant(earlier.running_since) if earlier.running_since else None,
        "version": earlier.version,
        "currentStepIndex": earlier.current_step_index,
        "attempt": earlier.attempt,
        "error": error,
    }


def _times(earlier: Execution) -> dict[str, str | None]:
    return {
        "nextDueAt": _instant(earlier.next_due_at),
        "updatedAt": _instant(earlier.updated_at),
        "finishedAt": _instant(earlier.finished_at) if earlier.finished_at else None,
    }


def _instant(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def _json(body: dict[str, Any], status: int) -> HttpResponse:
    return HttpResponse(json_values.compact(body).encode(), status=status, content_type=JSON)


urlpatterns = [
    path("executions", SubmittedExecutions.as_view(), name="executions"),
    path("executions:batch", Batch.as_view(), name="executions-batch"),
]
