"""REST: submits executions, one at a time or in batches.

This is the busiest part of the API, so it writes its responses without serializers.
"""

from collections.abc import Sequence
from functools import partial, wraps
from typing import Any, ClassVar

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import path
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from executions import errors
from executions.listing import Executions
from executions.submission.accepted import AcceptedView, accepted_json
from executions.submission.members import SubmissionRequest, is_plain
from executions.submission.requests import Start
from executions.submission.submission import ExecutionRequest, Submission, Verdict, submit_many, submit_when_open
from foundation.api import streaming
from foundation.api.bodies import LARGE_BYTES, StrictJSONParser, strict_json
from foundation.api.fields import StrictSerializer
from foundation.api.problem import invalid, problem, refusal
from foundation.api.schema import PROBLEM_REFERENCE
from foundation.errors import CoordinatorError, PayloadTooLarge, QuotaExceeded
from foundation.telemetry import traces
from releases import errors as release_errors
from tenancy.access import actor
from tenancy.api.authentication import TokenAuthentication, holds_any, remembered
from tenancy.api.operations import TENANT, TenantView
from tenancy.audit.acts import Act, declares
from tenancy.models import ApiToken
from tenancy.roles import Scope
from wire.documents import json_writer

RETRY_SECONDS = 5
"""When to repeat a request for a release that may become active."""
MAX_BATCH_ITEMS = 1000
JSON, ANYTHING = "application/json", "*/*"
TRACEPARENT = "HTTP_TRACEPARENT"
NOT_RUNNABLE = (
    release_errors.ArtifactMissing,
    release_errors.ArtifactAltered,
    release_errors.ArtifactUnverified,
    errors.WorkerUnavailable,
    errors.WorkerNotChecked,
)
"""Why a release cannot run a new execution at the moment."""


@extend_schema_field(PROBLEM_REFERENCE)
class _Problem(serializers.DictField):
    """A problem document (RFC 9457)."""


@extend_schema_field(SubmissionRequest(many=True))
class _Items(serializers.ListField):
    """A list of submissions. Each item is validated separately, later."""

    def run_child_validation(self, data: list[Any]) -> list[Any]:
        return data


class VerdictView(serializers.Serializer[Any]):
    """The result of one item: `execution` if it was accepted or is a duplicate, else `problem`. The other is null."""

    status = serializers.IntegerField(help_text="The status code that a single request for this item would have.")
    execution = AcceptedView(allow_null=True)
    problem = _Problem(allow_null=True)


class BatchRequest(StrictSerializer):
    items = _Items(
        min_length=1,
        max_length=MAX_BATCH_ITEMS,
        help_text="The submissions, each with the members of a single request. An invalid item has its own result.",
    )


class BatchView(serializers.Serializer[Any]):
    items = VerdictView(many=True)


class BatchParser(StrictJSONParser):
    """Parses batches, which may be larger than other requests."""

    @property
    def limit(self) -> int:
        return int(settings.MAX_BATCH_BYTES)


class _SubmissionView(TenantView):
    refusals: ClassVar = {
        "POST": (
            errors.TenantNotAllowed,
            errors.NotifyChannelUnknown,
            release_errors.PipelineUnknown,
            errors.IdempotencyKeyReused,
            release_errors.NoActiveRelease,
            release_errors.ActiveReleaseRevoked,
            errors.PipelinePaused,
            release_errors.ActiveReleaseChanged,
            errors.InputInvalid,
            release_errors.ReleaseUnknown,
            errors.ReleaseNotAdmitted,
            release_errors.ReleaseNotOpen,
            *NOT_RUNNABLE,
            PayloadTooLarge,
            QuotaExceeded,
        )
    }

    def get_authenticators(self) -> list[BaseAuthentication]:
        """Accept cached tokens for submissions, because the INSERT verifies the token against the database."""
        # There is no request while the OpenAPI document is generated.
        submits = self.request is not None and self.request.method == "POST"
        return [TokenAuthentication(from_memory=True)] if submits else super().get_authenticators()


@extend_schema(parameters=[TENANT], tags=["executions"])
class SubmittedExecutions(_SubmissionView, Executions):
    """The tenant's executions, newest first."""

    @declares(Act.EXECUTION_SUBMIT, Scope.SUBMIT)
    @extend_schema(
        operation_id="submitExecution", request=SubmissionRequest, responses={202: AcceptedView, 200: AcceptedView}
    )
    def post(self, request: Request, tenant: str) -> HttpResponse:
        """Submit an execution. 202: it is durable, pinned to the active release, and will run.

        200: the idempotency key was used before with an equal input. The response has the execution of that request.
        """
        return _submit(self.request, self.token, _body(request))


@extend_schema(parameters=[TENANT], tags=["executions"])
class Batch(_SubmissionView):
    parser_classes = (BatchParser,)
    refusals: ClassVar = {}  # the result of each item reports its error

    @declares(Act.EXECUTION_SUBMIT, Scope.SUBMIT)
    @extend_schema(operation_id="submitExecutions", request=BatchRequest, responses={200: BatchView})
    def post(self, request: Request, tenant: str) -> HttpResponse:
        """Submit up to 1,000 executions at once. Each has its own result, in the order of the items.

        All items with status 202 are durable when the response is sent. A rejected item does not affect the others.
        """
        items = BatchRequest.validated(_body(request))["items"]
        address, payloads = _address(self.request), holds_any(self.token, Scope.PAYLOADS)
        with traces.serving("POST executions:batch", request.META.get(TRACEPARENT), _described(self.token)):
            verdicts = _verdicts(self.token, items)
        return _json({"items": [_verdict(verdict, address, payloads) for verdict in verdicts]}, 200)


# --- one path for all submissions: parse, admit, insert ---


def _submit(request: HttpRequest | Request, token: ApiToken, body: Any) -> HttpResponse:
    header = request.META.get(TRACEPARENT)
    if not traces.wanted(header):
        return _submitted(request, token, body)
    with traces.traced("POST executions", header, _described(token)) as span:
        response = _submitted(request, token, body)
        span.set({"http.response.status_code": response.status_code})
    return response


def _described(token: ApiToken) -> dict[str, str]:
    return {"http.request.method": "POST", "pipelines.tenant": token.tenant.slug}


def _submitted(request: HttpRequest | Request, token: ApiToken, body: Any) -> HttpResponse:
    verdict = _verdict_of(request, token, body)
    if isinstance(verdict, CoordinatorError):
        response = refusal(verdict)
        if isinstance(verdict, release_errors.ReleaseNotOpen) and verdict.may_open:
            response["Retry-After"] = str(RETRY_SECONDS)
        return response
    accepted = accepted_json(verdict, _address(request), payloads=holds_any(token, Scope.PAYLOADS))
    response = _json(accepted, _status(verdict))
    response["Location"] = accepted["links"]["self"]
    return response


def _verdict_of(request: HttpRequest | Request, token: ApiToken, body: Any) -> Verdict:
    """Parse the body and submit it, after a wait if it asks for one."""
    parsed = _parsed(body)
    if isinstance(parsed, CoordinatorError):
        return parsed
    by = actor(token.user, token)
    if not (seconds := body.get("waitSeconds", 0)):
        [verdict] = submit_many(token.tenant, [parsed], actor=by, token=token.digest)
        return verdict
    pause = partial(streaming.pause, request)
    return submit_when_open(token.tenant, parsed, actor=by, token=token.digest, wait_seconds=seconds, pause=pause)


def _verdicts(token: ApiToken, bodies: Sequence[Any]) -> list[Verdict]:
    """Parse each item and submit the valid ones together, without waiting. Return the results in the same order."""
    parsed = [_parsed_item(body) for body in bodies]
    requests = [item for item in parsed if isinstance(item, ExecutionRequest)]
    submitted = iter(submit_many(token.tenant, requests, actor=actor(token.user, token), token=token.digest))
    return [next(submitted) if isinstance(item, ExecutionRequest) else item for item in parsed]


def _parsed(body: Any) -> ExecutionRequest | CoordinatorError:
    start = None
    try:
        if is_plain(body):
            members = body
        else:
            members = SubmissionRequest.validated(body)
            start = Start.of(members)
    except ValidationError as error:
        return invalid(error)
    return ExecutionRequest(
        members["pipelineId"],
        members["input"],
        members["idempotencyKey"],
        members.get("expectedReleaseVersion"),
        routing_key=members.get("routingKey"),
        tags=members.get("tags", ()),
        release_version=members.get("releaseVersion"),
        notify=members["notify"] if "notify" in members else None,  # noqa: SIM401 - `get` is a call of each submission
        start=start,
    )


def _parsed_item(body: Any) -> ExecutionRequest | CoordinatorError:
    parsed = _parsed(body)
    if isinstance(parsed, ExecutionRequest) and body.get("waitSeconds"):
        return invalid(ValidationError({"waitSeconds": ["must be 0 in a batch"]}))
    return parsed


def _body(request: Request) -> Any:
    """Return the body and remove it from the request, which may exist until a full garbage collection."""
    body = request.data
    if type(body) is not dict:
        return body  # the request has no body
    members = dict(body)
    body.clear()
    return members


# --- requests that need no framework ---

_executions = SubmittedExecutions.as_view()


@wraps(_executions)
def executions(request: HttpRequest, tenant: str) -> HttpResponseBase:
    """Submit without the framework if the token is cached and the headers are the usual ones.

    The framework would authenticate, negotiate and parse with the same result, at a third more CPU.
    """
    token = _usable_token(request, tenant)
    if token is None or not _has_usual_headers(request):
        return _executions(request, tenant=tenant)
    try:
        body = strict_json(request.read(), LARGE_BYTES)  # `request.body` would check the length again, three times
    except CoordinatorError as error:
        return refusal(error)
    return _submit(request, token, body)


def _usable_token(request: HttpRequest, tenant: str) -> ApiToken | None:
    """Return the cached token of a POST request if it may submit executions of this tenant."""
    token = remembered(request.META.get("HTTP_AUTHORIZATION", "")) if request.method == "POST" else None
    if token is None or token.tenant.slug != tenant or Scope.SUBMIT.value not in token.usable_scopes:
        return None
    return token


def _has_usual_headers(request: HttpRequest) -> bool:
    """Return True if the request sends JSON, accepts JSON, and is small."""
    headers = request.META
    if headers.get("CONTENT_TYPE") != JSON or headers.get("HTTP_ACCEPT", ANYTHING) not in {ANYTHING, JSON}:
        return False
    length = headers.get("CONTENT_LENGTH", "")
    return length.isdecimal() and int(length) <= min(LARGE_BYTES, settings.MAX_REQUEST_BYTES)


# --- responses ---


def _address(request: HttpRequest | Request) -> str:
    """Return the URL of the tenant's executions, for a request to that URL or to the one of batches."""
    return request.build_absolute_uri(request.path.removesuffix(":batch"))


def _status(submission: Submission) -> int:
    return 200 if submission.duplicate else 202


def _verdict(verdict: Verdict, address: str, payloads: bool) -> dict[str, Any]:
    if isinstance(verdict, CoordinatorError):
        return {"status": verdict.status, "execution": None, "problem": problem(verdict)}
    accepted = accepted_json(verdict, address, payloads=payloads)
    return {"status": _status(verdict), "execution": accepted, "problem": None}


def _json(body: dict[str, Any], status: int) -> HttpResponse:
    return HttpResponse(json_writer.text(body).encode(), status=status, content_type=JSON)


urlpatterns = [
    path("executions", executions, name="executions"),
    path("executions:batch", Batch.as_view(), name="executions-batch"),
]
