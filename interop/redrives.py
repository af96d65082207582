"""`/tpf/admin`: re-drives and their intents (wire protocol B.2, E.8)."""

import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn

from django.http import HttpRequest

from executions.errors import ExecutionUnknown
from executions.lifecycle import interventions, queries
from executions.models.states import State
from executions.submission.admission import require_allowed
from interop import records
from interop.surface import ADMIN, Refusal, TpfView, body_of, flag_of, text_of
from tenancy.models import Tenant

MAX_REASON_CHARACTERS = 80


class Intent(StrEnum):
    """What a re-drive asks for. The two others than REPLAY repeat a single command of a step."""

    REPLAY = "REPLAY"
    RETRY_FAILED_COMMAND = "RETRY_FAILED_COMMAND"
    REISSUE_COMMAND = "REISSUE_COMMAND"


_COMMANDS = {
    Intent.RETRY_FAILED_COMMAND: (
        State.FAILED,
        "Deliberate Command retry requires an explicitly allowed FAILED execution",
        "Pipeline control plane does not support deliberate Command retry redrive",
    ),
    Intent.REISSUE_COMMAND: (
        State.SUCCEEDED,
        "Command reissue requires a SUCCEEDED execution",
        "Pipeline control plane does not support targeted Command reissue",
    ),
}
"""The state that an intent needs, the text of 409 for other states, and the text of 501."""


@dataclass(frozen=True, slots=True)
class _Requested:
    intent: Intent
    reason: str
    expected_version: int | None
    allow_failed: bool


def _requested(body: dict[str, Any]) -> _Requested:
    """Return the request in `body`. Raises `Refusal` 400 by the rules of the founding framework."""
    expected = body.get("expectedVersion")
    if expected is not None and type(expected) is not int:
        raise Refusal(400)
    try:
        intent = Intent.REPLAY if body.get("intent") is None else Intent(text_of(body, "intent"))
    except ValueError:
        raise Refusal(400) from None
    target, reason, allow_failed = (
        text_of(body, "targetCommandId"),
        text_of(body, "reason"),
        flag_of(body, "allowFailed"),
    )
    if intent is not Intent.REISSUE_COMMAND:
        mistakes = {"targetCommandId is only valid for REISSUE_COMMAND": bool(target)}
    else:
        mistakes = {
            "REISSUE_COMMAND requires expectedVersion": expected is None,
            "REISSUE_COMMAND requires a nonblank reason": not reason,
            "REISSUE_COMMAND requires targetCommandId": not target,
            "REISSUE_COMMAND does not accept allowFailed=true": allow_failed,
        }
    for text, is_mistake in mistakes.items():
        if is_mistake:
            raise Refusal(400, text)
    return _Requested(intent, reason, expected, allow_failed)


class Redrive(TpfView):
    surface = ADMIN
    unavailable = "Execution admin token is unavailable"

    def post(self, request: HttpRequest, tenant_id: str, execution_id: str) -> dict[str, Any]:
        body = body_of(request) or {}
        requested = _requested(body)
        unknown = Refusal(404, f"Execution not found: {execution_id}")
        tenant = self.tenant(tenant_id)
        if tenant is None:
            raise unknown
        try:
            if requested.intent is not Intent.REPLAY:
                _refuse(tenant, uuid.UUID(execution_id), requested)
            redriven = interventions.redrive(
                tenant,
                uuid.UUID(execution_id),
                actor=ADMIN.actor,
                reason=(requested.reason or "operator")[:MAX_REASON_CHARACTERS],
                expected_version=requested.expected_version,
                allow_failed=requested.allow_failed,
            )
        except (ExecutionUnknown, ValueError):
            raise unknown from None
        record = records.redriven(redriven)
        # Clients of before September 2026 send no intent, and refuse these members.
        return {**record, "intent": Intent.REPLAY, "targetCommandId": None} if "intent" in body else record


def _refuse(tenant: Tenant, execution_id: uuid.UUID, requested: _Requested) -> NoReturn:
    """Refuse to repeat a single command: this coordinator keeps no record of the commands of steps.

    The execution is checked first, as the founding framework does.
    """
    require_allowed(tenant)
    execution = queries.execution(tenant, execution_id)
    needed, conflict, unsupported = _COMMANDS[requested.intent]
    if execution.status == needed == State.SUCCEEDED:
        interventions.require_version(execution, requested.expected_version)
    else:
        interventions.require_redrivable(execution, requested.expected_version, requested.allow_failed)
    if execution.status != needed:
        raise Refusal(409, conflict)
    raise Refusal(501, unsupported)
