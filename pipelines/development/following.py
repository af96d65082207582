"""Shows the executions of a pipeline as they fail and finish, and the questions that they ask."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from coordinator_client.api import Client, items_of, path
from coordinator_client.errors import Refused

MOST_SHOWN: Final = 20
"""How many executions of one look have separate lines."""
LONGEST_RESULT: Final = 300
_OVERLAP: Final = timedelta(seconds=10)
"""An execution may become visible so long after the time at which it finished."""
_PAGE: Final = 500


class Follower:
    """Prints what has happened to the executions of a pipeline since the last `look`. `say` prints a line."""

    def __init__(self, client: Client, say: Callable[[str, str], None]) -> None:
        self._client = client
        self._say = say
        self._since = datetime.now(UTC) - timedelta(minutes=1)
        self._shown: dict[str, datetime] = {}
        self._questions: set[str] = set()
        self._retries: set[tuple[str, int]] = set()

    def begin(self, pipeline_id: str) -> None:
        """Take what has finished, and what is asked, as known."""
        self._pipeline_id = pipeline_id
        self._finished()
        self._questions = {question["questionId"] for question in self._open_questions()}
        self._retries = {(execution["executionId"], execution["attempt"]) for execution in self._retrying()}

    def look(self) -> None:
        """Print the executions that have failed or finished since, and the questions. Raises ``ClientError``."""
        retrying = {(execution["executionId"], execution["attempt"]): execution for execution in self._retrying()}
        for key in [retry for retry in retrying if retry not in self._retries][-MOST_SHOWN:]:
            due = datetime.fromisoformat(retrying[key]["nextDueAt"]).astimezone()
            self._say("retrying", f"{self._failure(retrying[key])}\nattempt {key[1] + 1} begins at {due:%H:%M:%S}")
        self._retries = set(retrying)
        finished = self._finished()
        for execution in finished[-MOST_SHOWN:]:
            self._show(execution)
        if more := Counter(execution["status"] for execution in finished[:-MOST_SHOWN]):
            counts = ", ".join(f"{count} {status.lower()}" for status, count in more.items())
            self._say("finished", f"{sum(more.values())} other executions: {counts}")
        questions = {question["questionId"]: question for question in self._open_questions()}
        for question_id in [key for key in questions if key not in self._questions][-MOST_SHOWN:]:
            asked = questions[question_id]
            page = f"{self._client.connection.url}/admin/executions/interaction/{question_id}/change/"
            text = f"{asked['executionId']}  {asked['stepName']} asks {_bounded(asked['request'])}"
            self._say("waiting", f"{text}\n{_how_to_answer(asked, page)}")
        self._questions = set(questions)

    def _finished(self) -> list[dict[str, Any]]:
        """Return the executions that have finished since the last call, in the order of their submission."""
        since = (self._since - _OVERLAP).isoformat()
        query = {"pipelineId": self._pipeline_id, "finishedFrom": since, "pageSize": _PAGE}
        executions = {
            execution["executionId"]: execution for execution in items_of(self._client.get("executions", **query))
        }
        new = [executions[key] for key in reversed(executions) if key not in self._shown]
        self._shown |= {execution["executionId"]: datetime.fromisoformat(execution["finishedAt"]) for execution in new}
        self._since = max([self._since, *self._shown.values()])
        oldest = self._since - 2 * _OVERLAP
        self._shown = {key: at for key, at in self._shown.items() if at > oldest}
        return new

    def _show(self, execution: Mapping[str, Any]) -> None:
        status = str(execution["status"])
        if status == "SUCCEEDED":
            began, ended = (datetime.fromisoformat(execution[name]) for name in ("createdAt", "finishedAt"))
            took = f"{(ended - began).total_seconds():.2f} s"
            self._say("succeeded", f"{_named(execution)}  {took}  {self._result(str(execution['executionId']))}")
        elif status == "CANCELLED":
            self._say("cancelled", _named(execution))
        else:
            self._say("failed", self._failure(execution))

    def _failure(self, execution: Mapping[str, Any]) -> str:
        """Return what failed, with the message and the traceback if the token may read them."""
        error = self._client.get(path("executions", str(execution["executionId"])))["error"] or execution["error"] or {}
        text = "\n".join(part for part in (error.get("message"), error.get("traceback")) if part)
        return f"{_named(execution)}  {text or error.get('code', '')}"

    def _result(self, execution_id: str) -> str:
        try:
            return _bounded(self._client.get(path("executions", execution_id, "result"))["result"])
        except Refused as refused:
            return f"its result cannot be read: {refused.detail}"

    def _retrying(self) -> list[dict[str, Any]]:
        query = {"pipelineId": self._pipeline_id, "status": "WAIT_RETRY", "pageSize": _PAGE}
        return list(reversed(items_of(self._client.get("executions", **query))))

    def _open_questions(self) -> list[dict[str, Any]]:
        query = {"pipelineId": self._pipeline_id, "status": "pending", "pageSize": _PAGE}
        pending = items_of(self._client.get("questions", **query))
        return [question for question in pending if question["transport"] not in ("timer", "pipeline")]


def _named(execution: Mapping[str, Any]) -> str:
    return f"{execution['executionId']}  {execution['pin']['releaseVersion']}"


def _how_to_answer(question: Mapping[str, Any], page: str) -> str:
    """Say how the user answers a question, or who may instead. Earlier coordinators do not say whether the user may."""
    if question.get("mayAnswer", True):
        return f"to answer: coordinator questions answer {question['questionId']} --response JSON\nor at {page}"
    if not question["restricted"]:
        return "your token may not answer: it lacks the scope interactions:complete, or you lack a role that may"
    assignee, group = question["assignee"], question["group"]
    names = " and ".join(filter(None, [assignee, group and f"members of {group}"]))
    join = f"\na tenant admin can set your groups: coordinator members groups USER {group}" if group else ""
    return f"you may not answer, only {names} may: {page}{join}"


def _bounded(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= LONGEST_RESULT else f"{text[:LONGEST_RESULT]}… ({len(text):,} characters)"
