"""The one hierarchy of errors that a caller can see.

Every subclass carries a stable `code`, the HTTP `status` that the API's one handler answers with, and a `title`
that never changes between occurrences. `docs/errors.md` lists them all; a test holds the two together.
"""

from collections.abc import Iterable
from typing import Any, ClassVar


class CoordinatorError(Exception):
    """A refusal with a stable code.

    `detail` tells what happened this time, in a sentence for a person. `errors` holds one entry for each thing that
    is wrong, as `{"field", "code", "message"}`. `data` are further members of the problem document (RFC 9457,
    section 3.2).
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


class NotFound(CoordinatorError):
    code = "NOT_FOUND"
    status = 404
    title = "There is no such thing, or it belongs to another tenant"


class PayloadTooLarge(CoordinatorError):
    code = "PAYLOAD_TOO_LARGE"
    status = 413
    title = "The request is larger than this coordinator accepts"


class DatabaseUnavailable(CoordinatorError):
    code = "DATABASE_UNAVAILABLE"
    status = 503
    title = "The database cannot be used at the moment"


class LargeRequestsBusy(CoordinatorError):
    code = "LARGE_REQUESTS_BUSY"
    status = 503
    title = "Too many large requests are being handled at once"


class SlowRequestsBusy(CoordinatorError):
    code = "SLOW_REQUESTS_BUSY"
    status = 503
    title = "Too many requests wait for the rest of their bodies"
