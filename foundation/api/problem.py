"""The one place where an error becomes an HTTP answer: `application/problem+json` (RFC 9457)."""

import sys
from typing import Any

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.views.defaults import bad_request, page_not_found, server_error
from drf_standardized_errors.formatter import flatten_errors
from drf_standardized_errors.handler import ExceptionHandler
from drf_standardized_errors.types import ExceptionHandlerContext
from rest_framework.exceptions import APIException, ErrorDetail, ParseError, ValidationError
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response
from rest_framework.settings import api_settings

from foundation.database.postgresql.outage import is_outage
from foundation.errors import (
    CoordinatorError,
    DatabaseUnavailable,
    InvalidRequest,
    LargeRequestsBusy,
    PayloadTooLarge,
    SlowRequestsBusy,
)

API = "/api/"
TYPE = "urn:durable-coordinator:problem:"
# What the framework itself refuses, by the code that it gives: our code and title.
FRAMEWORK = {
    "not_authenticated": ("NOT_AUTHENTICATED", "A bearer token is required"),
    "authentication_failed": ("NOT_AUTHENTICATED", "A bearer token is required"),
    "permission_denied": ("PERMISSION_DENIED", "This is not allowed"),
    "not_found": ("NOT_FOUND", "There is no such thing, or it belongs to another tenant"),
    "method_not_allowed": ("METHOD_NOT_ALLOWED", "This resource does not have this method"),
    "not_acceptable": ("NOT_ACCEPTABLE", "The answer is only to be had as JSON"),
    "unsupported_media_type": ("UNSUPPORTED_MEDIA_TYPE", "The request's media type is not understood here"),
    "parse_error": ("INVALID_REQUEST", InvalidRequest.title),
    "throttled": ("THROTTLED", "Too many requests"),
    "error": ("INTERNAL_ERROR", "The coordinator failed to answer; its log tells why"),
}


class ProblemRenderer(JSONRenderer):
    media_type = "application/problem+json"
    format = "problem"


class ProblemHandler(ExceptionHandler):
    """Renders the domain's errors and the framework's in one shape; unknown ones become a bare 500."""

    def convert_known_exceptions(self, exc: Exception) -> Exception:
        if isinstance(exc, CoordinatorError):
            converted = APIException(exc.detail, code=exc.code)
            converted.status_code = exc.status
            return converted
        if isinstance(exc, SuspiciousOperation):
            return ParseError(str(exc))
        return super().convert_known_exceptions(exc)

    def format_exception(self, exc: APIException) -> dict[str, Any]:
        if isinstance(self.exc, CoordinatorError):
            return problem(self.exc)
        if isinstance(exc, ValidationError):
            return problem(invalid(exc))
        detail = exc.detail
        key = str(detail.code if isinstance(detail, ErrorDetail) else exc.default_code)
        code, title = FRAMEWORK.get(key, FRAMEWORK["error"])
        return _document(code, title, exc.status_code, str(detail) if exc.status_code < 500 else title)

    def report_exception(self, exc: APIException, response: Response) -> None:
        """Do not report overload as an error: it has status 503, but the program works as intended."""
        if not isinstance(self.exc, LargeRequestsBusy | SlowRequestsBusy):
            super().report_exception(exc, response)

    def get_response(self, exc: APIException, data: dict[str, Any]) -> Response:
        response = super().get_response(exc, data)
        response.content_type = ProblemRenderer.media_type
        request = self.context.get("request")
        if request is not None:
            request.accepted_renderer = ProblemRenderer()
            request.accepted_media_type = ProblemRenderer.media_type
        return response


def handle(exc: Exception, context: ExceptionHandlerContext) -> Response | None:
    if isinstance(exc, RequestDataTooBig):
        exc = PayloadTooLarge("The form's fields are larger than this coordinator accepts.")
    if is_outage(exc):
        outage = database_unavailable()
        outage.__cause__ = exc
        exc = outage
    return ProblemHandler(exc, context).run()


def database_unavailable() -> DatabaseUnavailable:
    return DatabaseUnavailable("The request was not carried out. Try again.")


def problem(error: CoordinatorError) -> dict[str, Any]:
    """The problem document of a domain error."""
    document = _document(error.code, error.title, error.status, error.detail)
    if error.errors:
        document["errors"] = list(error.errors)
    # The members that RFC 9457 names are the error's own, whatever it tells besides.
    return {**error.data, **document}


def refusal(error: CoordinatorError) -> HttpResponse:
    """The answer to a request that ends in a domain error, outside of the framework."""
    text = ProblemRenderer().render(problem(error))
    return HttpResponse(text, status=error.status, content_type=ProblemRenderer.media_type)


def invalid(exc: ValidationError) -> InvalidRequest:
    """A serializer's refusals as one error that names each field and the rule that it breaks."""
    errors = [
        {"field": _place(found.attr or ""), "code": found.code.upper(), "message": str(found.detail)}
        for found in flatten_errors(exc.detail)
    ]
    named = "; ".join(f"{error['field'] or 'body'}: {error['message']}" for error in errors[:3])
    return InvalidRequest(named, errors=errors)


def _place(attr: str) -> str:
    """The member that is meant; what is wrong with a body or a member as a whole is at no member in it."""
    return ".".join(part for part in attr.split(".") if part != api_settings.NON_FIELD_ERRORS_KEY)


def malformed(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler for a request that it refuses itself: a problem below `/api/`, a page elsewhere."""
    if not request.path.startswith(API):
        return bad_request(request, exception)
    return refusal(InvalidRequest("The request is malformed, or it names a host that ALLOWED_HOSTS does not list."))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler for an address that nothing answers: a problem below `/api/`, a page elsewhere."""
    if not request.path.startswith(API):
        return page_not_found(request, exception)
    code, title = FRAMEWORK["not_found"]
    return JsonResponse(_document(code, title, 404, title), status=404, content_type=ProblemRenderer.media_type)


def failed(request: HttpRequest) -> HttpResponse:
    """Django's handler for a view or a middleware that raised: 503 in an outage of the database, else 500.

    Code that reads a body may also raise `SlowRequestsBusy`, which keeps its own problem document.
    """
    error = sys.exception()
    if isinstance(error, SlowRequestsBusy):
        return refusal(error)
    if is_outage(error):
        if request.path.startswith(API):
            return refusal(database_unavailable())
        return HttpResponse(render_to_string("503.html"), status=DatabaseUnavailable.status)
    if not request.path.startswith(API):
        return server_error(request)
    code, title = FRAMEWORK["error"]
    return JsonResponse(_document(code, title, 500, title), status=500, content_type=ProblemRenderer.media_type)


def _document(code: str, title: str, status: int, detail: str) -> dict[str, Any]:
    return {"type": TYPE + code, "title": title, "status": status, "detail": detail, "code": code}
