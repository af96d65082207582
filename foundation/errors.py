"""The base class of all errors that a caller can see, and the errors that all parts of the product share.

Each error has a stable `code`, the HTTP `status` of the response, and a `title` that is equal for all occurrences.
The code is the name of the class in capitals, like QUOTA_EXCEEDED for `QuotaExceeded`, unless the class names another.
A subclass without a title shares the code and the title of its base.
The first paragraph of its docstring says what the caller does. `docs/reference/errors.md` is generated from it.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar


class CoordinatorError(Exception):
    """A rejected request.

    `detail` is a sentence that describes this occurrence. `errors` has an entry `{"field", "code", "message"}` for each
    invalid field. `data` contains further members of the problem document (RFC 9457, section 3.2).
    """

    code: ClassVar[str]
    status: ClassVar[int]
    title: ClassVar[str]

    def __init_subclass__(cls, *, status: int | None = None, title: str | None = None, code: str | None = None) -> None:
        super().__init_subclass__()
        if status is not None:
            cls.status = status
        if title is not None:
            cls.title = title
            cls.code = code or re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).upper()

    def __init__(self, detail: str, *, errors: Iterable[dict[str, str]] = (), **data: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.data = data


def require_valid(error: type[CoordinatorError], rules: Mapping[str, str]) -> None:
    """Raise `error` with the rules that members violate. "" stands for a valid member."""
    wrong = {name: rule for name, rule in rules.items() if rule}
    if wrong:
        raise error(
            "; ".join(f"{name} {rule}" for name, rule in wrong.items()),
            errors=[{"field": name, "code": "INVALID", "message": rule} for name, rule in wrong.items()],
        )


class BadRequest(CoordinatorError, status=400): ...


class Forbidden(CoordinatorError, status=403): ...


class Conflict(CoordinatorError, status=409): ...


class Unprocessable(CoordinatorError, status=422): ...


class Unavailable(CoordinatorError, status=503): ...


class InvalidRequest(BadRequest, title="The request does not have the required form"):
    """Correct the members that `errors` names."""


class NotFound(CoordinatorError, status=404, title="The resource does not exist, or it belongs to another tenant"):
    """Check the path and the tenant."""


class PayloadTooLarge(CoordinatorError, status=413, title="The request is larger than the coordinator accepts"):
    """Send less, or ask an administrator to raise the limit that `detail` names."""


class PreconditionFailed(CoordinatorError, status=412, title="The resource is not the one that the request expects"):
    """Read the resource again, and repeat the request with its present `ETag`."""


class RangeNotSatisfiable(CoordinatorError, status=416, title="The requested range is outside of the resource"):
    """Ask for a range inside of the resource."""


class QueryTooSlow(Unprocessable, title="The search takes too long"):
    """Add a filter, such as a time."""


class ExportTooLarge(Unprocessable, title="Too many rows match"):
    """Add a filter, such as a time."""


class DatabaseUnavailable(Unavailable, title="The database is unavailable"):
    """Repeat the request after `Retry-After`, with the same key. It may have been executed already."""


class LargeRequestsBusy(Unavailable, title="Too many large requests are in progress"):
    """Repeat the request after `Retry-After`."""


class SlowRequestsBusy(Unavailable, title="Too many requests are waiting for slow clients"):
    """Repeat the request after `Retry-After`."""


class TooManyRequests(CoordinatorError, status=429, title="Too many requests of one tenant or client are waiting"):
    """Repeat the request after `Retry-After`, and send fewer at a time.

    `data` has the member `retryAfter`: when to try again, in seconds.
    """


class QuotaExceeded(CoordinatorError, status=429, title="The tenant has used a quota"):
    """Wait for `Retry-After`, or ask an administrator to raise the quota that `quota` names.

    `data` has the members `quota`, its name, and `retryAfter`: when to try again, in seconds.
    """
