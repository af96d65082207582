"""``Client`` and ``AsyncClient``, and the executions that they return."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self, TypeVar, overload

from coordinator_client import profiles
from coordinator_client.api import Connection
from coordinator_client.calls import AsyncCaller, Caller
from coordinator_client.errors import Refused
from pipelines.client.flows import Flows, Priority, Question, SomeRefused, Start, State, Submission
from pipelines.client.values import Target

REQUEST_SECONDS: Final = 60.0
RETRY_SECONDS: Final = 30.0
CONNECTIONS: Final = 500
QUESTION_SECONDS: Final = 10.0
_T = TypeVar("_T")


class _Execution:
    def __init__(self, flows: Flows, document: Mapping[str, Any], pipeline: Target) -> None:
        self._flows = flows
        self.id = str(document["executionId"])
        self.pipeline = pipeline
        self.key: str | None = document.get("idempotencyKey")
        self.release: str | None = document.get("pin", {}).get("releaseVersion")
        self.duplicate = bool(document.get("duplicate"))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"


class Execution(_Execution):
    """One execution, as ``Client.submit`` and ``Client.get`` return it. ``id`` (a UUID as text) finds it again.

    ``key`` is its idempotency key, and ``release`` the version of its release. Both are None if ``Client.get`` returned
    it. ``duplicate`` is True if the key was used before: this is the execution that was submitted then.

    Each method sends requests, and raises ``ClientError`` if one fails.
    """

    def __init__(self, caller: Caller, flows: Flows, document: Mapping[str, Any], pipeline: Target) -> None:
        super().__init__(flows, document, pipeline)
        self._run = caller.run

    @overload
    def result(self, hint: type[_T], /, *, timeout: float | None = None) -> _T: ...
    @overload
    def result(self, hint: None = None, /, *, timeout: float | None = None) -> Any: ...
    def result(self, hint: Any = None, /, *, timeout: float | None = None) -> Any:
        """Wait for the end, and return the result.

        It is a value of the type ``hint``; without it, of that of the last step if the execution was submitted with a
        ``Pipeline``, and JSON otherwise. ``timeout`` is in seconds; None waits without a limit.

        Raises ``ExecutionFailed``, ``ExecutionCancelled`` and ``NotFinished``, which is a ``TimeoutError``.
        """
        return self._run(self._flows.result(self.id, self.pipeline, hint, timeout))

    def wait(self, timeout: float | None = None) -> State:
        """Wait for the end, successful or not. Raises ``NotFinished`` after ``timeout`` seconds (None: never)."""
        return self._run(self._flows.ended(self.id, timeout))

    def state(self) -> State:
        """Return what the execution is doing now."""
        return self._run(self._flows.state(self.id))

    def cancel(self, reason: str = "") -> State:
        """Cancel the execution, and return its state. Cancelling it again changes nothing.

        ``reason`` is stored with the cancellation. Raises ``CancelRefused`` if the execution has ended.
        """
        return self._run(self._flows.cancel(self.id, reason))

    def questions(self) -> list[Question]:
        """Return the questions of the execution that wait for an answer. Empty if there are none."""
        return self._run(self._flows.questions(self.id, self.pipeline))

    def answer(self, step: str, response: Any, *, note: str = "", timeout: float = QUESTION_SECONDS) -> bool:
        """Answer the question of ``step``. If it is not asked yet, wait ``timeout`` seconds (default 10).

        ``response`` is the answer, typed or JSON, and ``note`` a text for people. Return False if another answer came
        first, which counts. Raises ``AnswerInvalid``, ``QuestionClosed``, and ``ClientError`` if the step has no open
        question, or several: answer each of ``questions`` then.
        """
        return self._run(self._flows.answer_step(self.id, self.pipeline, step, response, note, timeout))


class AsyncExecution(_Execution):
    """As ``Execution``, for event loops."""

    def __init__(self, caller: AsyncCaller, flows: Flows, document: Mapping[str, Any], pipeline: Target) -> None:
        super().__init__(flows, document, pipeline)
        self._run = caller.run

    @overload
    async def result(self, hint: type[_T], /, *, timeout: float | None = None) -> _T: ...
    @overload
    async def result(self, hint: None = None, /, *, timeout: float | None = None) -> Any: ...
    async def result(self, hint: Any = None, /, *, timeout: float | None = None) -> Any:
        """As ``Execution.result``."""
        return await self._run(self._flows.result(self.id, self.pipeline, hint, timeout))

    async def wait(self, timeout: float | None = None) -> State:
        """As ``Execution.wait``."""
        return await self._run(self._flows.ended(self.id, timeout))

    async def state(self) -> State:
        """As ``Execution.state``."""
        return await self._run(self._flows.state(self.id))

    async def cancel(self, reason: str = "") -> State:
        """As ``Execution.cancel``."""
        return await self._run(self._flows.cancel(self.id, reason))

    async def questions(self) -> list[Question]:
        """As ``Execution.questions``."""
        return await self._run(self._flows.questions(self.id, self.pipeline))

    async def answer(self, step: str, response: Any, *, note: str = "", timeout: float = QUESTION_SECONDS) -> bool:
        """As ``Execution.answer``."""
        return await self._run(self._flows.answer_step(self.id, self.pipeline, step, response, note, timeout))


class Client:
    """Calls the coordinator, and blocks. Safe to use from many threads. Keeps its connections until ``close``.

    An argument wins over the environment (COORDINATOR_URL, COORDINATOR_TENANT, COORDINATOR_TOKEN), and that over
    ``profile``, the name of a profile of ``coordinator login``. ``ca_file`` has the certificates of the authorities to
    trust, in PEM form. A request may take ``request_seconds``, by default 60. If it fails and may succeed later (the
    connection is lost, 429, 5xx), it is repeated for ``retry_seconds``, by default 30, and no sooner than the
    coordinator asks. That is safe: a submission has its key, and the other requests change nothing twice.

    Raises ``ClientError`` if the coordinator, the tenant or the token is not named.
    """

    def __init__(
        self,
        url: str = "",
        tenant: str = "",
        token: str = "",
        *,
        profile: str = "",
        ca_file: Path | None = None,
        request_seconds: float = REQUEST_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        connection = _connection(url, tenant, token, profile, ca_file, request_seconds)
        self._caller = Caller(connection)
        self._flows = Flows(retry_seconds, self._caller.longest_wait)

    def submit(
        self,
        pipeline: Target,
        value: Any,
        /,
        *,
        key: str | None = None,
        release: str | None = None,
        expected_release: str | None = None,
        routing_key: str | None = None,
        tags: Sequence[str] = (),
        notify: str | None = None,
        not_before: datetime | None = None,
        expires_at: datetime | None = None,
        priority: Priority | None = None,
    ) -> Execution:
        """Submit an execution. It is durable when this returns, and pinned to the active release.

        ``pipeline`` is a ``Pipeline``, which checks the input here and types the result, or its id. ``value`` is the
        input, typed or JSON; a list if the first step takes many. Give a ``key`` that says what is to be done once:
        with the same key and input, the first execution is returned. Without a key, each call submits a new one.
        ``release`` names a release to run in place of the active one, and ``expected_release`` the one that must be
        active. With gradual activation, equal values of ``routing_key`` get the same release. ``tags`` are texts by
        which lists are filtered. The channel ``notify`` of the tenant gets a message at the end. The execution starts
        at ``not_before`` or later. If no worker got it by ``expires_at``, it is cancelled. Both need a time zone, and
        are at most 365 days ahead. ``priority`` is "low", "normal" (the default) or "high".

        Raises ``InputInvalid``, ``PipelineUnknown``, ``NoActiveRelease``, ``IdempotencyKeyReused`` or another
        ``ClientError``, and ``ValueError`` for a time without a zone.
        """
        start = Start(not_before, expires_at, priority)
        submission = Submission(pipeline, release, expected_release, routing_key, tags, notify, start)
        accepted = self._caller.run(self._flows.submit(submission, value, key))
        return Execution(self._caller, self._flows, accepted, pipeline)

    def submit_many(
        self,
        pipeline: Target,
        inputs: Iterable[Any],
        /,
        *,
        key: Callable[[Any], object] | None = None,
        release: str | None = None,
        tags: Sequence[str] = (),
        notify: str | None = None,
        not_before: datetime | None = None,
        expires_at: datetime | None = None,
        priority: Priority | None = None,
    ) -> list[Execution]:
        """Submit an execution for each input, up to a thousand with each request. Return them in their order.

        ``key`` is a function that returns the key of an input. The other arguments are those of ``submit``. Raises
        ``SomeRefused``, which has the accepted executions.
        """
        start = Start(not_before, expires_at, priority)
        submission = Submission(pipeline, release, tags=tags, notify=notify, start=start)
        verdicts = self._caller.run(self._flows.submit_many(submission, inputs, key))
        return _all(verdicts, lambda accepted: Execution(self._caller, self._flows, accepted, pipeline))

    def get(self, execution_id: str, pipeline: Target = "") -> Execution:
        """Return an execution that was submitted before. Sends no request.

        ``execution_id`` is a UUID as text. A ``pipeline`` types questions and results.
        """
        return Execution(self._caller, self._flows, {"executionId": execution_id}, pipeline)

    def cancel(self, execution_id: str, reason: str = "") -> State:
        """As ``Execution.cancel``."""
        return self._caller.run(self._flows.cancel(execution_id, reason))

    def answer(self, question: Question | str, response: Any, *, note: str = "") -> bool:
        """Answer a question, or the one with this id. Return False if it had another answer before, which counts.

        ``response`` is the answer, typed or JSON, and ``note`` a text for people.

        Raises ``AnswerInvalid``, ``QuestionUnknown`` and ``QuestionClosed``.
        """
        return self._caller.run(self._flows.answer(question, response, note))

    def close(self) -> None:
        """Close the connections. The end of a ``with`` block does it too."""
        self._caller.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient:
    """As ``Client``, for one event loop. A wait costs one connection and no thread.

    At most ``connections`` are open, by default 500. If there are more waits, they take turns.
    """

    def __init__(
        self,
        url: str = "",
        tenant: str = "",
        token: str = "",
        *,
        profile: str = "",
        ca_file: Path | None = None,
        request_seconds: float = REQUEST_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
        connections: int = CONNECTIONS,
    ) -> None:
        connection = _connection(url, tenant, token, profile, ca_file, request_seconds)
        self._caller = AsyncCaller(connection, connections)
        self._flows = Flows(retry_seconds, self._caller.longest_wait)

    async def submit(
        self,
        pipeline: Target,
        value: Any,
        /,
        *,
        key: str | None = None,
        release: str | None = None,
        expected_release: str | None = None,
        routing_key: str | None = None,
        tags: Sequence[str] = (),
        notify: str | None = None,
        not_before: datetime | None = None,
        expires_at: datetime | None = None,
        priority: Priority | None = None,
    ) -> AsyncExecution:
        """As ``Client.submit``."""
        start = Start(not_before, expires_at, priority)
        submission = Submission(pipeline, release, expected_release, routing_key, tags, notify, start)
        accepted = await self._caller.run(self._flows.submit(submission, value, key))
        return AsyncExecution(self._caller, self._flows, accepted, pipeline)

    async def submit_many(
        self,
        pipeline: Target,
        inputs: Iterable[Any],
        /,
        *,
        key: Callable[[Any], object] | None = None,
        release: str | None = None,
        tags: Sequence[str] = (),
        notify: str | None = None,
        not_before: datetime | None = None,
        expires_at: datetime | None = None,
        priority: Priority | None = None,
    ) -> list[AsyncExecution]:
        """As ``Client.submit_many``."""
        start = Start(not_before, expires_at, priority)
        submission = Submission(pipeline, release, tags=tags, notify=notify, start=start)
        verdicts = await self._caller.run(self._flows.submit_many(submission, inputs, key))
        return _all(verdicts, lambda accepted: AsyncExecution(self._caller, self._flows, accepted, pipeline))

    def get(self, execution_id: str, pipeline: Target = "") -> AsyncExecution:
        """As ``Client.get``."""
        return AsyncExecution(self._caller, self._flows, {"executionId": execution_id}, pipeline)

    async def cancel(self, execution_id: str, reason: str = "") -> State:
        """As ``Execution.cancel``."""
        return await self._caller.run(self._flows.cancel(execution_id, reason))

    async def answer(self, question: Question | str, response: Any, *, note: str = "") -> bool:
        """As ``Client.answer``."""
        return await self._caller.run(self._flows.answer(question, response, note))

    async def close(self) -> None:
        """Close the connections. The end of an ``async with`` block does it too."""
        await self._caller.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _connection(
    url: str, tenant: str, token: str, profile: str, ca_file: Path | None, request_seconds: float
) -> Connection:
    return profiles.connection(
        profile=profile, url=url, tenant=tenant, token=token, ca_file=ca_file, request_seconds=request_seconds
    )


def _all(verdicts: Sequence[dict[str, Any] | Refused], make: Callable[[dict[str, Any]], _T]) -> list[_T]:
    """Return the executions. Raises ``SomeRefused``."""
    refused = {index: verdict for index, verdict in enumerate(verdicts) if isinstance(verdict, Refused)}
    if refused:
        raise SomeRefused([None if isinstance(verdict, Refused) else make(verdict) for verdict in verdicts], refused)
    return [make(verdict) for verdict in verdicts if not isinstance(verdict, Refused)]
