"""The page of all stable codes, with what each means or what to do about it."""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from rest_framework.exceptions import APIException

import coordinator.urls  # noqa: F401 - it imports all that define errors
from docs.generators.markdown import code, joined, table
from foundation.api.problem import ADVICE, FRAMEWORK
from foundation.errors import CoordinatorError
from pipelines import error_codes
from wire.failure_codes import FAILURES
from wire.finding_codes import FINDINGS
from wire.messages.refusals import DROPPED, REFUSED

HEAD: Final = """\
# Errors

All codes of the coordinator, of executions and of the `pipelines` command. Codes are stable, and software may depend on
them. Messages may change.
"""
API: Final = """\
An error is `application/problem+json` ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)). A problem may have further
members, which the OpenAPI document describes. Every 503 has a `Retry-After` header with the seconds to wait.

```json
{
  "type": "urn:durable-coordinator:problem:INPUT_INVALID",
  "title": "The input does not fit the first step of the active release's contract",
  "status": 422,
  "detail": "input.number: must be an integer",
  "code": "INPUT_INVALID",
  "errors": [{"field": "input.number", "code": "INPUT_TYPE", "message": "must be an integer"}]
}
```

`errors` has an entry for each wrong member. Its `code` is that of a [finding](#findings), or:

| code | meaning |
|---|---|
| `REQUIRED`, `NULL`, `BLANK` | The member is missing, null or blank. |
| `NOT_TEXT`, `NOT_INTEGER`, `NOT_NUMBER`, `NOT_BOOLEAN` | The value has another type. |
| `NOT_IDENTIFIER`, `NOT_SEGMENT` | The text has characters that its place does not allow. |
| `MIN_VALUE`, `MAX_VALUE`, `MAX_LENGTH`, `OVERFLOW` | The value exceeds a limit. |
| `INVALID`, `INVALID_CHOICE`, `POLICY`, `KEY` | The value breaks the rule in `message`. |
| `UNKNOWN_MEMBER`, `UNKNOWN_PARAMETER` | The operation has no such member or parameter. |
| `INPUT_TYPE`, `ANSWER_TYPE`, `CHECKPOINT_TYPE` | The value does not fit the type in the contract. |
| `NOT_PROVEN`, `EDITED` | The contracts do not prove that the checkpoint continues, or the input was edited. |
"""
OF_DOCUMENTS: Final = """\
A finding is a broken rule of a document or an artifact. It has `code`, `field`, `message` and `severity`. A warning
does not reject the document. `field` is a path such as `pipeline-release.json#artifacts[0].digest`. An exclamation mark
leads into an artifact: `pipeline-release.json#artifacts[0]!pipeline-contract.json#steps[0].index`.
"""
OF_EXECUTIONS: Final = """\
`error.code` of an execution is the class of the exception that a step raised, such as `RuntimeError`, or one of these.
[Retries](../how-to/retry-steps.md) apply to classes of exceptions.
"""
OF_MESSAGES: Final = """\
A worker or the coordinator refuses a message with one of these codes, and logs the code.
"""
OF_FORM: Final = """\
A message with a wrong outer form is dropped before. The log names the queue, the size and the code. The list
`<queue>.dead` in the broker keeps the newest dropped messages.
"""
OF_AUTHORS: Final = """\
The `pipelines` command prints `error: CODE: message` to stderr and ends with status 2.
"""


def errors(base: type[CoordinatorError] = CoordinatorError) -> Iterator[type[CoordinatorError]]:
    """Yield the classes that have a code of their own."""
    if "code" in vars(base):
        yield base
    for child in base.__subclasses__():
        yield from errors(child)


def advice(error: type[CoordinatorError]) -> str:
    """Return the first paragraph of the docstring of a class. Empty if it has none."""
    return inspect.cleandoc(error.__doc__ or "").partition("\n\n")[0] if "__doc__" in vars(error) else ""


def api_errors() -> dict[str, tuple[int, str, str]]:
    """Return the status, the title and the advice of each error of the API by its code."""
    statuses = {exception.default_code: exception.status_code for exception in APIException.__subclasses__()}
    of_framework = {
        name: (statuses.get(key, APIException.status_code), title, ADVICE[name])
        for key, (name, title) in FRAMEWORK.items()
        if name in ADVICE
    }
    return of_framework | {error.code: (error.status, error.title, advice(error)) for error in errors()}


def page() -> str:
    return joined(
        HEAD,
        *("## Errors of the API", API, _api_table()),
        *("## Findings", OF_DOCUMENTS),
        *(part for title, codes in FINDINGS.items() for part in (f"### {title}", _meanings(codes.items()))),
        *("## Errors of executions", OF_EXECUTIONS),
        table(("code", "retried", "meaning"), ((code(name), *cells) for name, cells in FAILURES.items())),
        *("## Refused messages", OF_MESSAGES, _messages("refused", REFUSED), OF_FORM, _messages("dropped", DROPPED)),
        *("## Errors of authors", OF_AUTHORS),
        table(("code", "what to do"), ((code(name), text) for name, text in error_codes.ADVICE.items())),
    )


def _api_table() -> str:
    entries = sorted(api_errors().items(), key=lambda entry: (entry[1][0], entry[0]))
    rows = ((code(name), str(status), title, text) for name, (status, title, text) in entries)
    return table(("code", "status", "title", "what to do"), rows)


def _meanings(codes: Iterable[tuple[str, str]]) -> str:
    return table(("code", "meaning"), ((code(name), text) for name, text in codes))


def _messages(what: str, codes: Mapping[str, tuple[str, str]]) -> str:
    return table(("code", what, "meaning"), ((code(name), *cells) for name, cells in codes.items()))
