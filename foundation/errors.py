"""The base class of all errors that a caller can see, and the errors that all parts of the product share.

Each subclass has a stable `code`, the HTTP `status` of the response, and a `title` that is equal for all occurrences.
The code is the name of the class in capitals, like QUOTA_EXCEEDED for `QuotaExceeded`, unless the class names another.
`docs/errors.md` lists all of them; a test compares the list with the classes.
"""

import re
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

    def __init_subclass__(cls, *, status: int | None = None) -> None:
        super().__init_subclass__()
        if status is not None:
            cls.status = status
        if "title" in vars(cls) and "code" not in vars(cls):
            cls.code = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).upper()

    def __init__(self, detail: str, *, errors: Iterable[dict[str, str]] = (), **data: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.data = data


class InvalidRequest(CoordinatorError, status=400):
    title = "The request does not have the required form"


class NotFound(CoordinatorError, status=404):
    title = "The resource does not exist, or it belongs to another tenant"


class PayloadTooLarge(CoordinatorError, status=413):
    title = "The request is larger than the coordinator accepts"


class PreconditionFailed(CoordinatorError, status=412):
    title = "The resource is not the one that the request expects"


class RangeNotSatisfiable(CoordinatorError, status=416):
    title = "The requested range is outside of the resource"


class QueryTooSlow(CoordinatorError, status=422):
    title = "The search takes too long"


class ExportTooLarge(CoordinatorError, status=422):
    title = "Too many rows match"


class DatabaseUnavailable(CoordinatorError, status=503):
    title = "The database is unavailable"


class LargeRequestsBusy(CoordinatorError, status=503):
    title = "Too many large requests are in progress"


class SlowRequestsBusy(CoordinatorError, status=503):
    title = "Too many requests are waiting for slow clients"


class TooManyRequests(CoordinatorError, status=429):
    """`data` has the member `retryAfter`: when to try again, in seconds."""

    title = "Too many requests of one tenant or client are waiting"


class QuotaExceeded(CoordinatorError, status=429):
    """`data` has the members `quota`, its name, and `retryAfter`: when to try again, in seconds."""

    title = "The tenant has used a quota"
