"""The conditions of a search, read from query parameters."""

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from executions.models import CLAIMED
from executions.models.states import State
from foundation import moments
from foundation.errors import InvalidRequest

LIVE: Final = "live"
HELD: Final = "held"
UNSUCCESSFUL: Final = "failed"
ME: Final = "me"
"""The value of `by` that means the person who searches, and their tokens."""
STATUSES: Final = {
    LIVE: "All live executions",
    HELD: "Running, started or not",
    UNSUCCESSFUL: "Failed (FAILED or DLQ)",
    **{name: name for name in (State.QUEUED.value, CLAIMED, *(state.value for state in State if state != "QUEUED"))},
}
"""The statuses that can be searched, with labels. CLAIMED and RUNNING are both RUNNING in the database."""
LONGEST: Final = 1500
_STEP: Final = re.compile(r"\d{1,4}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Conditions on executions. An execution matches if it fulfils all that are not None.

    `step` is the index of the step at which a live execution is, or at which a failed one failed. An execution matches
    `since` and `until` if it was submitted then or later, and before that. It matches `ended_since` if it ended then
    or later. It is `stranded` if it is due and no worker may run it. It matches `failure_group` if its newest failure
    is in that group. `text` is the beginning of the key, or of the id.
    """

    status: str | None = None
    pipeline_id: str | None = None
    release_version: str | None = None
    error_code: str | None = None
    step: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    ended_since: datetime | None = None
    tag: str | None = None
    smoke: bool | None = None
    submitted_by: str | None = None
    stranded: bool | None = None
    failure_group: uuid.UUID | None = None
    text: str | None = None
    tenant: str | None = None


def parse(parameters: Mapping[str, str], *, now: datetime) -> Search:
    """Return the conditions in query parameters. Empty ones are no conditions.

    Times are RFC 3339, local times of the current time zone, or spans before `now`, such as `15m`, `2h` and `7d`.
    Raises `InvalidRequest` that names each parameter that is unknown or has an invalid value.
    """
    values: dict[str, Any] = {}
    errors = []
    for name, text in parameters.items():
        if name not in PARAMETERS:
            errors.append({"field": name, "code": "UNKNOWN", "message": "is not a known parameter"})
        elif text.strip():
            field, read, rule = PARAMETERS[name]
            try:
                values[field] = read(text.strip(), now)
            except (ValueError, OverflowError):
                errors.append({"field": name, "code": "INVALID", "message": rule})
    if errors:
        raise InvalidRequest("; ".join(f"{each['field']} {each['message']}" for each in errors), errors=errors)
    return Search(**values)


def _text(text: str, _: datetime) -> str:
    if len(text) > LONGEST or "\0" in text:
        raise ValueError
    return text


def _status(text: str, _: datetime) -> str:
    if text not in STATUSES:
        raise ValueError
    return text


def _step(text: str, _: datetime) -> int:
    if not _STEP.fullmatch(text) or not int(text):
        raise ValueError
    return int(text) - 1


def _flag(text: str, _: datetime) -> bool:
    if text not in {"yes", "no"}:
        raise ValueError
    return text == "yes"


def _id(text: str, _: datetime) -> uuid.UUID:
    return uuid.UUID(text)


_TEXT_RULE: Final = f"must be a text of at most {LONGEST} characters"
PARAMETERS: Final[Mapping[str, tuple[str, Callable[[str, datetime], Any], str]]] = {
    "q": ("text", _text, _TEXT_RULE),
    "status": ("status", _status, f"must be one of {', '.join(STATUSES)}"),
    "pipeline": ("pipeline_id", _text, _TEXT_RULE),
    "release": ("release_version", _text, _TEXT_RULE),
    "error": ("error_code", _text, _TEXT_RULE),
    "step": ("step", _step, "must be the number of a step, from 1"),
    "since": ("since", moments.read, moments.RULE),
    "until": ("until", moments.read, moments.RULE),
    "ended": ("ended_since", moments.read, moments.RULE),
    "tag": ("tag", _text, _TEXT_RULE),
    "smoke": ("smoke", _flag, "must be yes or no"),
    "by": ("submitted_by", _text, _TEXT_RULE),
    "stranded": ("stranded", _flag, "must be yes or no"),
    "group": ("failure_group", _id, "must be the id of a failure group"),
    "tenant": ("tenant", _text, _TEXT_RULE),
}
"""Each query parameter: the field of `Search`, how its text is read, and what it must be."""
