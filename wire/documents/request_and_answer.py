"""The value that a step takes after an await, if it takes the request with the answer (ADR 118). Pure."""

from typing import Any, Final

REQUEST: Final = "request"
ANSWER: Final = "answer"


def request_and_answer_type(await_name: str) -> str:
    """Return the name of the record type of a request with its answer. No class of an author has such a name."""
    return f"{await_name}#request-and-answer"


def request_with_answer(request: Any, answer: Any) -> dict[str, Any]:
    """Return the JSON of a request with its answer. Neither can change the other."""
    return {REQUEST: request, ANSWER: answer}


def takes_request(steps: Any, step_index: int) -> bool:
    """Return True if a step takes the request of the await before it. `steps` are those of a contract, or None."""
    if not isinstance(steps, list) or not 0 <= step_index < len(steps):
        return False
    return bool(steps[step_index].get("takesRequest"))
