"""What the clients do, as flows that threads and event loops carry out alike."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from coordinator_client import calls
from coordinator_client.api import ENDED, Request
from coordinator_client.calls import Flow, Pause
from coordinator_client.errors import ClientError, Refused
from pipelines.client import values
from pipelines.client.values import Target

Priority = Literal["low", "normal", "high"]
_PAUSE: Final = 0.5
"""How often to look for a question. The coordinator holds no request for one."""


@dataclass(frozen=True, slots=True)
class State:
    """What an execution was doing when the API was asked. ``document`` is the whole response: an object of JSON.

    ``status`` is a state, such as SUCCEEDED. ``release`` is the version of its release. ``step_index`` and
    ``attempt`` count from 0. ``error_code`` is None if there is no error. ``error_message`` is None too if the token
    may not read payloads. Times are aware; ``finished_at`` is None before the end.
    """

    status: str
    release: str
    step_index: int
    attempt: int
    error_code: str | None
    error_message: str | None
    created_at: datetime
    finished_at: datetime | None
    document: Mapping[str, Any] = field(repr=False)

    @property
    def ended(self) -> bool:
        """True if the execution has succeeded, failed or been cancelled."""
        return self.status in ENDED


@dataclass(frozen=True, slots=True)
class Question:
    """A question of an execution that waits for its answer.

    ``step`` is the name of the step that asks. ``item_index`` counts the questions of a stream from 0; it is None if
    there is one. ``request`` is typed if the pipeline is known, and JSON otherwise. ``assignee`` and ``group`` say who
    may answer; None for anyone. After ``deadline``, an aware time, the execution fails.
    """

    id: str
    execution_id: str
    step: str
    item_index: int | None
    request: Any
    assignee: str | None
    group: str | None
    deadline: datetime
    pipeline: Target = field(repr=False)


class SomeRefused(ClientError):
    """Some of many submissions were refused; the others were accepted.

    ``refused`` has their errors by position, and ``executions`` has None in these places.
    """

    def __init__(self, executions: Sequence[Any], refused: Mapping[int, Refused]) -> None:
        self.executions = executions
        self.refused = refused
        shown = [f"  item {index}: {error}" for index, error in list(refused.items())[:3]]
        super().__init__("\n".join([f"{len(refused)} of {len(executions)} submissions were refused", *shown]))


@dataclass(frozen=True, slots=True)
class Start:
    """When a submission starts. The times are aware."""

    not_before: datetime | None = None
    expires_at: datetime | None = None
    priority: Priority | None = None

    @property
    def members(self) -> dict[str, str | None]:
        return {
            "notBefore": _instant("not_before", self.not_before),
            "expiresAt": _instant("expires_at", self.expires_at),
            "priority": self.priority,
        }


def _instant(name: str, at: datetime | None) -> str | None:
    if at is not None and at.tzinfo is None:
        raise ValueError(f"{name} needs a time zone, such as datetime.now(UTC)")
    return None if at is None else at.isoformat()


NOW: Final = Start()


@dataclass(frozen=True, slots=True)
class Submission:
    """The members of a submission that are not its input."""

    pipeline: Target
    release: str | None = None
    expected_release: str | None = None
    routing_key: str | None = None
    tags: Sequence[str] = ()
    notify: str | None = None
    start: Start = NOW

    def body(self, value: Any, key: str | None) -> dict[str, Any]:
        """Return the body of the request. Raises ``InputInvalid``."""
        members = {
            "pipelineId": values.id_of(self.pipeline),
            "input": values.input_of(self.pipeline, value),
            "idempotencyKey": str(uuid.uuid4()) if key is None else key,
            "releaseVersion": self.release,
            "expectedReleaseVersion": self.expected_release,
            "routingKey": self.routing_key,
            "tags": list(self.tags) or None,
            "notify": self.notify,
            **self.start.members,
        }
        return {name: member for name, member in members.items() if member is not None or name == "input"}


class Flows:
    """Every flow repeats its requests for ``retry_seconds`` while their failures may pass."""

    def __init__(self, retry_seconds: float, longest_wait: Callable[[], int]) -> None:
        self._retry = retry_seconds
        self._longest_wait = longest_wait

    def submit(self, submission: Submission, value: Any, key: str | None) -> Flow[dict[str, Any]]:
        return (yield from self._call("POST", "executions", body=submission.body(value, key)))

    def submit_many(
        self, submission: Submission, inputs: Iterable[Any], key: Callable[[Any], object] | None
    ) -> Flow[list[dict[str, Any] | Refused]]:
        """Inputs that are not of their type are refused here, and the others are sent."""
        refused: dict[int, Refused] = {}
        bodies: list[dict[str, Any]] = []
        for index, value in enumerate(inputs):
            try:
                bodies.append(submission.body(value, str(key(value)) if key is not None else None))
            except Refused as error:
                refused[index] = error
        sent = iter((yield from calls.submissions(bodies, self._retry)))
        return [refused[index] if index in refused else next(sent) for index in range(len(bodies) + len(refused))]

    def result(self, execution_id: str, pipeline: Target, hint: Any, timeout: float | None) -> Flow[Any]:
        document = yield from calls.result(execution_id, timeout, self._retry, self._longest_wait)
        return values.result_of(pipeline, document, hint)

    def ended(self, execution_id: str, timeout: float | None) -> Flow[State]:
        return _state((yield from calls.ended(execution_id, timeout, self._retry, self._longest_wait)))

    def state(self, execution_id: str) -> Flow[State]:
        return _state((yield from self._call("GET", calls.execution_path(execution_id))))

    def cancel(self, execution_id: str, reason: str) -> Flow[State]:
        target = calls.execution_path(execution_id, "cancel")
        return _state((yield from self._call("POST", target, body={"reason": reason})))

    def questions(self, execution_id: str, pipeline: Target) -> Flow[list[Question]]:
        query = {"executionId": execution_id, "status": "pending"}
        return [_question(row, pipeline) for row in (yield from calls.pages("questions", query, self._retry))]

    def answer(self, question: Question | str, response: Any, note: str) -> Flow[bool]:
        if isinstance(question, Question):
            document = values.answer_of(question.pipeline, question.step, response)
            question_id = question.id
        else:
            document, question_id = values.json_of(response), question
        body = {"questionId": question_id, "response": document, "note": note}
        completed = yield from self._call("POST", "questions/answer", body=body)
        return not completed.get("duplicate") or completed.get("response") == document

    def answer_step(
        self, execution_id: str, pipeline: Target, step: str, response: Any, note: str, timeout: float
    ) -> Flow[bool]:
        deadline = time.monotonic() + timeout
        while True:
            open_now = yield from self.questions(execution_id, pipeline)
            asked = [question for question in open_now if values.step_id_of(question.step) == values.step_id_of(step)]
            if len(asked) > 1:
                raise ClientError(f'"{step}" asks {len(asked)} questions; answer each of execution.questions()')
            if asked:
                return (yield from self.answer(asked[0], response, note))
            state = yield from self.state(execution_id)
            if state.ended or time.monotonic() + _PAUSE > deadline:
                others = ", ".join(f'"{question.step}"' for question in open_now) or "nothing"
                raise ClientError(f'execution {execution_id} is {state.status} and asks {others}, not "{step}"')
            yield Pause(_PAUSE)

    def _call(self, method: str, target: str, body: Any = None) -> Flow[dict[str, Any]]:
        return (yield from calls.repeated(Request(method, target, body=body), self._retry))


def _state(document: Mapping[str, Any]) -> State:
    error = document.get("error") or {}
    finished = document.get("finishedAt")
    return State(
        document["status"],
        document["pin"]["releaseVersion"],
        document["currentStepIndex"],
        document["attempt"],
        error.get("code"),
        error.get("message"),
        datetime.fromisoformat(document["createdAt"]),
        datetime.fromisoformat(finished) if finished else None,
        document,
    )


def _question(document: Mapping[str, Any], pipeline: Target) -> Question:
    index = document["stepIndex"]
    return Question(
        document["questionId"],
        document["executionId"],
        document["stepName"],
        document["itemIndex"],
        values.request_of(pipeline, index, document["request"]),
        document["assignee"],
        document["group"],
        datetime.fromisoformat(document["deadline"]),
        pipeline,
    )
