"""The payloads of an execution on its page, and their downloads, for those who may read them."""

import json
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse

from executions.admin import curl
from executions.lifecycle import queries
from executions.models import Execution
from executions.models.states import State
from foundation.admin.json_tree import tree
from tenancy.access import tenants_of
from tenancy.admin.base import ReadOnlyAdmin
from tenancy.roles import Scope, roles_granting

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
        found = {"code": execution.error_code, "message": execution.error_message}
        return {**found, "traceback": queries.traceback(execution)}
    return curl.body(execution) if name == "request" else NONE


def shown(execution: Execution, name: str) -> dict[str, Any] | None:
    """Return a payload as context of `executions/payload.html`; None if the execution has none."""
    value = value_of(execution, name)
    if value is NONE:
        return None
    text = json.dumps(value, indent=2, ensure_ascii=False)
    drawn = tree(value, name)
    return {
        "name": name,
        "html": drawn.html,
        "cut": drawn.cut,
        "length": len(text),
        "copied": text if len(text) <= MOST_COPIED else None,
        "download": reverse("admin:executions_execution_payload", args=[execution.pk, name]),
    }


def command(request: HttpRequest, execution: Execution) -> dict[str, Any]:
    """Return the curl command that submits the input again, and the file that it needs if the input is large."""
    url = request.build_absolute_uri(reverse("api:executions", args=[execution.tenant.slug]))
    text = curl.as_text(curl.body(execution))
    file = reverse("admin:executions_execution_payload", args=[execution.pk, "request"])
    return {"text": curl.command(url, text), "file": file if len(text) > curl.LONGEST_BODY else ""}


def tenants_shown(request: HttpRequest, *also: Scope) -> frozenset[int]:
    """Return the tenants whose payloads the user may read, or in which they hold one of the scopes in `also`."""
    ids = (tenants_of(request.user, scope).values_list("pk", flat=True) for scope in (Scope.PAYLOADS, *also))
    return frozenset(pk for each in ids for pk in each)


def readers() -> str:
    """Return the roles that may read payloads, in words."""
    names = [role.label.lower() for role in roles_granting(Scope.PAYLOADS)]
    return f"{', '.join(names[:-1])} and {names[-1]}"


def download(pages: ReadOnlyAdmin, request: HttpRequest, execution: Execution, name: str) -> HttpResponse:
    """Download a payload as JSON. Requires the scope `payloads:read`."""
    if not pages.may(request, Scope.PAYLOADS, execution):
        raise PermissionDenied
    value = value_of(execution, name)
    if value is NONE:
        raise Http404
    file = curl.FILE if name == "request" else f"{name}-{execution.pk}.json"
    headers = {"Content-Disposition": f'attachment; filename="{file}"'}
    return HttpResponse(
        json.dumps(value, indent=2, ensure_ascii=False), content_type="application/json", headers=headers
    )
