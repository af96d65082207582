"""Turns all errors into HTTP responses of type `application/problem+json` (RFC 9457)."""

import sys
from collections.abc import Callable
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

from foundation.database.postgresql.outage import may_pass
from foundation.errors import (
    CoordinatorError,
    DatabaseUnavailable,
    InvalidRequest,
    LargeRequestsBusy,
    NotFound,
    PayloadTooLarge,
    SlowRequestsBusy,
)
from foundation.sentences import joined

COMPATIBILITY = {"tpf", "pipeline", "q"}
"""The first parts of the paths of the compatibility surface. Its errors are texts with the media type of JSON."""
TYPE = "urn:durable-coordinator:problem:"
# The code and the title of each error that the framework raises, by the framework's code.
FRAMEWORK = {
    "not_authenticated": ("NOT_AUTHENTICATED", "A bearer token is required"),
    "authentication_failed": ("NOT_AUTHENTICATED", "A bearer token is required"),
    "permission_denied": ("PERMISSION_DENIED", "The request is not allowed"),
    "not_found": ("NOT_FOUND", NotFound.title),
    "method_not_allowed": ("METHOD_NOT_ALLOWED", "The resource does not support this method"),
    "not_acceptable": ("NOT_ACCEPTABLE", "The response is available only as JSON"),
    "unsupported_media_type": ("UNSUPPORTED_MEDIA_TYPE", "The media type of the request is not supported"),
    "parse_error": ("INVALID_REQUEST", InvalidRequest.title),
    "throttled": ("THROTTLED", "Too many requests"),
    "error": ("INTERNAL_ERROR", "An internal error occurred; the log of the coordinator contains the details"),
}
ADVICE = {
    "PERMISSION_DENIED": "Use a token or role that allows this.",
    "METHOD_NOT_ALLOWED": "Use one of the methods that the header `Allow` names.",
    "NOT_ACCEPTABLE": "Accept `application/json`.",
    "UNSUPPORTED_MEDIA_TYPE": "Send `application/json`, or what the operation names.",
    "THROTTLED": "Try again later.",
    "INTERNAL_ERROR": "Report the error with the entry of the log.",
}
"""What the caller does about each of these codes that no class has."""


class ProblemRenderer(JSONRenderer):
    media_type = "application/problem+json"
    format = "problem"


class ProblemHandler(ExceptionHandler):
    """Gives the errors of the domain and of the framework one shape. Unknown errors become a 500 without details."""

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
        if isinstance(self.exc, CoordinatorError) and "retryAfter" in self.exc.data:
            response["Retry-After"] = str(self.exc.data["retryAfter"])
        request = self.context.get("request")
        if request is not None:
            request.accepted_renderer = ProblemRenderer()
            request.accepted_media_type = ProblemRenderer.media_type
        return response


def handle(exc: Exception, context: ExceptionHandlerContext) -> Response | None:
    if isinstance(exc, RequestDataTooBig):
        exc = PayloadTooLarge("The fields of the form are larger than the coordinator accepts.")
    if may_pass(exc):
        outage = database_unavailable()
        outage.__cause__ = exc
        exc = outage
    return ProblemHandler(exc, context).run()


def database_unavailable() -> DatabaseUnavailable:
    """Return the error of a request that fails for a reason that may pass."""
    return DatabaseUnavailable("The database did not confirm the request. Repeat it, with the same key if it has one.")


def problem(error: CoordinatorError) -> dict[str, Any]:
    document = _document(error.code, error.title, error.status, error.detail)
    if error.errors:
        document["errors"] = list(error.errors)
    # `data` never replaces the members that RFC 9457 defines.
    return {**error.data, **document}


def refusal(error: CoordinatorError) -> HttpResponse:
    """Return the response to a domain error, for code that runs outside of DRF."""
    text = ProblemRenderer().render(problem(error))
    response = HttpResponse(text, status=error.status, content_type=ProblemRenderer.media_type)
    if "retryAfter" in error.data:
        response["Retry-After"] = str(error.data["retryAfter"])
    return response


def invalid(exc: ValidationError) -> InvalidRequest:
    """Return one error for all errors of a serializer. It names each field and the rule that the field breaks."""
    errors = [
        {"field": _place(error.attr or ""), "code": error.code.upper(), "message": str(error.detail)}
        for error in flatten_errors(exc.detail)
    ]
    named = joined((f"{error['field'] or 'body'}: {error['message']}" for error in errors[:3]), "; ")
    return InvalidRequest(named, errors=errors)


def _place(attr: str) -> str:
    """Return the path of the member that an error is about; the empty string for the body as a whole."""
    return ".".join(part for part in attr.split(".") if part != api_settings.NON_FIELD_ERRORS_KEY)


def malformed(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400."""
    error = InvalidRequest("The request is malformed, or ALLOWED_HOSTS does not list its host.")
    return _in_form(request, refusal(error), error.title, lambda: bad_request(request, exception))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler404."""
    return _in_form(request, _framework("not_found", 404), "Not Found", lambda: page_not_found(request, exception))


def failed(request: HttpRequest) -> HttpResponse:
    """Django's handler500: returns 503 if the database failed for a reason that may pass, and 500 otherwise.

    Code that reads a body may also raise `SlowRequestsBusy`, which has its own problem document.
    """
    error = sys.exception()
    if isinstance(error, SlowRequestsBusy):
        return refusal(error)
    if may_pass(error):
        unavailable = database_unavailable()

        def page() -> HttpResponse:
            return HttpResponse(render_to_string("503.html"), status=unavailable.status)

        return _in_form(request, refusal(unavailable), unavailable.title, page)
    return _in_form(request, _framework("error", 500), "An unexpected error occurred", lambda: server_error(request))


def _in_form(request: HttpRequest, document: HttpResponse, text: str, page: Callable[[], HttpResponse]) -> HttpResponse:
    """Return an error outside of views in the form of its address.

    It is a problem document below `/api`, a text on the compatibility surface, and a page elsewhere.
    """
    root = request.path.lstrip("/").partition("/")[0]
    if root == "api":
        return document
    if root in COMPATIBILITY:
        return HttpResponse(text, status=document.status_code, content_type="application/json")
    return page()


def _framework(name: str, status: int) -> HttpResponse:
    code, title = FRAMEWORK[name]
    return JsonResponse(_document(code, title, status, title), status=status, content_type=ProblemRenderer.media_type)


def _document(code: str, title: str, status: int, detail: str) -> dict[str, Any]:
    return {"type": TYPE + code, "title": title, "status": status, "detail": detail, "code": code}
