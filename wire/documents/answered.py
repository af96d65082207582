"""The value with which an execution resumes: the answer of an await, or its request and its answer (ADR 118)."""

from __future__ import annotations

from typing import Any, Final

REQUEST: Final = "request"
ANSWER: Final = "answer"


def type_id(await_name: str) -> str:
    """Return the name of the record type of a request with its answer. No class of an author has such a name."""
    return f"{await_name}#request-and-answer"


def with_request(request: Any, answer: Any) -> dict[str, Any]:
    """Return the JSON of a request with its answer. Neither can change the other."""
    return {REQUEST: request, ANSWER: answer}


def takes_request(steps: Any, step_index: int) -> bool:
    """Return True if a step takes the request of the await before it. `steps` are those of a contract, or None."""
    if not isinstance(steps, list) or not 0 <= step_index < len(steps):
        return False
    return bool(steps[step_index].get("takesRequest"))
