"""The payloads of an execution: JSON on pages, their downloads, and the command that submits an input again."""

import json
import re
import shlex
import uuid
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse

from executions.lifecycle import queries
from executions.models import Execution
from executions.models.states import State
from foundation.admin.columns import json_tree
from foundation.errors import InvalidRequest
from tenancy.audit.acts import Act
from tenancy.console.base import ReadOnlyAdmin, held_in, serves
from tenancy.models import Tenant
from tenancy.roles import Scope
from wire.documents.json_reader import read_object
from wire.findings import DocumentError

MOST_COPIED = 100_000
"""A longer text is downloaded and not copied, because the page would contain it twice."""
NONE = object()


def value_of(execution: Execution, name: str) -> Any:
    """Return a payload of the execution by its name; NONE if it has no such payload."""
    if name == "input":
        return execution.input
    if name == "result" and execution.status == State.SUCCEEDED:
        return queries.result(execution)
    if name == "checkpoint" and execution.progress_shape is not None:
        return execution.progress
    if name == "error" and execution.error_code is not None:
        error = {"code": execution.error_code, "message": execution.error_message}
        return {**error, "traceback": queries.traceback(execution)}
    return curl_body(execution) if name == "request" else NONE


def shown(execution: Execution, name: str) -> dict[str, Any] | None:
    """Return a payload as context of `executions/payload.html`; None if the execution has none."""
    value = value_of(execution, name)
    if value is NONE:
        return None
    text = json.dumps(value, indent=2, ensure_ascii=False)
    drawn = json_tree(value, name)
    return {
        "name": name,
        "html": drawn.html,
        "cut": drawn.cut,
        "length": len(text),
        "copied": text if len(text) <= MOST_COPIED else None,
        "download": reverse("admin:executions_execution_payload", args=[execution.pk, name]),
    }


def curl(request: HttpRequest, execution: Execution) -> dict[str, Any]:
    """Return the curl command that submits the input again, and the file that it needs if the input is large."""
    url = request.build_absolute_uri(reverse("api:executions", args=[execution.tenant.slug]))
    text = json.dumps(curl_body(execution), ensure_ascii=False)
    file = reverse("admin:executions_execution_payload", args=[execution.pk, "request"])
    return {"text": curl_command(url, text), "file": file if len(text) > LONGEST_BODY else ""}


def tenants_shown(request: HttpRequest, *also: Scope) -> frozenset[int]:
    """Return the tenants whose payloads the user may read, or in which they hold one of the scopes in `also`."""
    if request.user.is_superuser:
        return frozenset(Tenant.objects.order_by().values_list("pk", flat=True))
    return frozenset(pk for scope in (Scope.PAYLOADS, *also) for pk in held_in(request, scope) or ())


@serves("<uuid:object_id>/payloads/<slug:name>.json", Act.ADMIN_PAGE, Scope.PAYLOADS, reads=True)
def download(pages: ReadOnlyAdmin, request: HttpRequest, execution: Execution, name: str) -> HttpResponse:
    """Download a payload as JSON."""
    value = value_of(execution, name)
    if value is NONE:
        raise Http404
    file = FILE if name == "request" else f"{name}-{execution.pk}.json"
    headers = {"Content-Disposition": f'attachment; filename="{file}"'}
    return HttpResponse(
        json.dumps(value, indent=2, ensure_ascii=False), content_type="application/json", headers=headers
    )


LONGEST_BODY = 20_000
"""A longer body is read from a file, because shells limit the length of an argument."""
FILE = "request.json"


def curl_body(execution: Execution) -> dict[str, Any]:
    """Return the body of the request. Its new key makes a repeated command return the same new execution."""
    members = {"pipelineId": execution.pipeline_id, "idempotencyKey": str(uuid.uuid4()), "input": execution.input}
    return {**members, "tags": execution.tags} if execution.tags else members


def curl_command(url: str, text: str) -> str:
    """Return the command. The shell replaces $TOKEN, and nothing else."""
    inline = len(text) <= LONGEST_BODY
    data = f"--data-raw {shlex.quote(text)}" if inline else f"--data-binary @{FILE}"
    lines = [
        f"curl --fail-with-body --request POST {shlex.quote(url)}",
        '--header "Authorization: Bearer $TOKEN"',
        "--header 'Content-Type: application/json'",
        data,
    ]
    return " \\\n  ".join(lines)


JSON_SHOWN = 20_000
_LINE = re.compile(r"\bline (\d+)\b")


def bounded_json(value: Any) -> dict[str, Any]:
    """Return indented JSON, truncated to JSON_SHOWN characters. `length` is that of the whole text."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return {"text": text[:JSON_SHOWN], "length": len(text), "cut": len(text) > JSON_SHOWN}


def typed_value(text: str, *, field: str) -> Any:
    """Return the one JSON value in `text`. The rules are those for request bodies.

    Raises `InvalidRequest` with every finding. Their paths begin with `field`.
    """
    # The strict reader reads only objects, so wrap the value in one. A newline keeps the line numbers computable.
    wrapped = f'{{"{field}":\n{text}}}'.encode("utf-8", "surrogatepass")
    try:
        members = read_object(wrapped, name="typed", limit=settings.MAX_REQUEST_BYTES)
    except DocumentError as error:
        errors = [_as_typed(finding.to_json(), field) for finding in error.findings]
        raise InvalidRequest(errors[0]["message"], errors=errors) from None
    if set(members) != {field}:
        several = {"field": field, "code": "DOCUMENT_NOT_JSON", "message": "must be one JSON value"}
        raise InvalidRequest("must be one JSON value", errors=[several])
    return members[field]


def _as_typed(finding: dict[str, str], field: str) -> dict[str, str]:
    """Return the finding with the path and line numbers of the text that the user typed."""
    path = finding["field"].removeprefix("typed").removeprefix("#") or field
    return {**finding, "field": path, "message": _LINE.sub(lambda line: f"line {int(line[1]) - 1}", finding["message"])}
