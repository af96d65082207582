"""The base class of all errors that a caller can see, and the errors that all parts of the product share.

Each subclass has a stable `code`, the HTTP `status` of the response, and a `title` that is equal for all occurrences.
`docs/errors.md` lists all of them; a test compares the list with the classes.
"""

from collections.abc import Iterable
from typing import Any, ClassVar


class CoordinatorError(Exception):
    """A rejected request.

    `detail` is a sentence that describes this occurrence. `errors` has an entry `{"field", "code", "message"}` for each
    invalid field. `data` contains further members of the problem document (RFC 9457, section 3.2).
    """

    code: ClassVar[str]
    status: ClassVar[int]
    title: ClassVar[str]

    def __init__(self, detail: str, *, errors: Iterable[dict[str, str]] = (), **data: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.data = data


class InvalidRequest(CoordinatorError):
    code = "INVALID_REQUEST"
    status = 400
    title = "The request does not have the required form"


class Conflict(CoordinatorError):
    """The present state does not allow the request."""

    status = 409


class Unprocessable(CoordinatorError):
    """The request has the required form, and a value that is not acceptable."""

    status = 422


class NotFound(CoordinatorError):
    code = "NOT_FOUND"
    status = 404
    title = "The resource does not exist, or it belongs to another tenant"


class PayloadTooLarge(CoordinatorError):
    code = "PAYLOAD_TOO_LARGE"
    status = 413
    title = "The request is larger than the coordinator accepts"


class PreconditionFailed(CoordinatorError):
    code = "PRECONDITION_FAILED"
    status = 412
    title = "The resource is not the one that the request expects"


class RangeNotSatisfiable(CoordinatorError):
    code = "RANGE_NOT_SATISFIABLE"
    status = 416
    title = "The requested range is outside of the resource"


class QueryTooSlow(CoordinatorError):
    code = "QUERY_TOO_SLOW"
    status = 422
    title = "The search takes too long"


class ExportTooLarge(CoordinatorError):
    code = "EXPORT_TOO_LARGE"
    status = 422
    title = "Too many rows match"


class DatabaseUnavailable(CoordinatorError):
    code = "DATABASE_UNAVAILABLE"
    status = 503
    title = "The database is unavailable"


class LargeRequestsBusy(CoordinatorError):
    code = "LARGE_REQUESTS_BUSY"
    status = 503
    title = "Too many large requests are in progress"


class SlowRequestsBusy(CoordinatorError):
    code = "SLOW_REQUESTS_BUSY"
    status = 503
    title = "Too many requests are waiting for slow clients"


class TooManyRequests(CoordinatorError):
    """`data` has the member `retryAfter`: when to try again, in seconds."""

    code = "TOO_MANY_REQUESTS"
    status = 429
    title = "Too many requests of one tenant or client are waiting"


class QuotaExceeded(CoordinatorError):
    """`data` has the members `quota`, its name, and `retryAfter`: when to try again, in seconds."""

    code = "QUOTA_EXCEEDED"
    status = 429
    title = "The tenant has used a quota"
