"""Hosts one release for coordinators that call over HTTP: verifies requests and runs commands.

Starts no server and no threads; ``rest_worker`` does.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from pipelines.authoring.plan import plan
from pipelines.failures import Boundary, Failed, inform, warn
from pipelines.step_reports import Reporter, current
from pipelines.worker.hosted_release import HostedRelease
from pipelines.worker.printed import end_lines
from pipelines.worker.rest_results import encoded, failure, failure_of, stop_of, with_report
from pipelines.worker.supervision import Supervisor
from wire.log_lines import bound
from wire.messages.celery_messages import TOLERANCE, Shape
from wire.messages.payload_envelopes import (
    DEFAULT_PREFIXES,
    LIST,
    SNAPSHOT,
    Allowed,
    PayloadRefused,
    TypedPayload,
    plain,
    read_snapshot,
    snapshot_value,
)
from wire.messages.rest_messages import (
    CAPABILITIES_PATH,
    EXECUTE_PATH,
    READS_REPORTS,
    Capabilities,
    Malformed,
    TransitionCommand,
    parse,
)
from wire.messages.unknown_members import NewNames, unknown_members
from wire.traceparent import NONE, received
from wire.worker_keys import Refused, check_signature

if TYPE_CHECKING:
    from pipelines.worker.tracing import Tracer, Transition

HEALTH_PATH = "/q/health/live"
METHODS = {EXECUTE_PATH: "POST", CAPABILITIES_PATH: "GET", HEALTH_PATH: "GET"}
ILLEGAL_ARGUMENT = "java.lang.IllegalArgumentException"
MOST_NONCES = 200_000
"""How many requests are remembered, with about 200 bytes each: those of two minutes at 1,600 a second."""
Response = tuple[int, bytes]
"""The status and the body of an HTTP response."""


class Crowded(Exception):
    """The worker remembers as many requests as it can, so it cannot tell whether another one is new."""


class Nonces:
    """The nonces of recent requests. Each nonce is accepted once within the tolerance.

    A nonce is remembered, as a digest, until its request is too old to be accepted.
    """

    def __init__(self, tolerance: timedelta) -> None:
        self._tolerance = tolerance
        self._known: set[bytes] = set()
        self._by_end: list[tuple[datetime, bytes]] = []
        self._lock = threading.Lock()

    def is_new(self, nonce: str, sent: datetime, now: datetime) -> bool:
        """Record ``nonce``. Return False if it is known. Call this only for requests with a valid signature.

        Raises `Crowded` instead of forgetting another nonce that could still be used.
        """
        digest = hashlib.blake2b(nonce.encode(), digest_size=16).digest()
        with self._lock:
            while self._by_end and self._by_end[0][0] < now:
                self._known.discard(heappop(self._by_end)[1])
            if digest in self._known:
                return False
            if len(self._known) >= MOST_NONCES:
                raise Crowded
            self._known.add(digest)
            heappush(self._by_end, (sent + self._tolerance, digest))
            return True


class RestHost:
    """Answers signed requests about one release. Safe to use from many threads."""

    def __init__(
        self,
        release: HostedRelease,
        *,
        secret: str,
        prefixes: tuple[str, ...] = DEFAULT_PREFIXES,
        tracer: Tracer | None = None,
        supervisor: Supervisor | None = None,
    ) -> None:
        self.release = release
        self.supervisor = supervisor or Supervisor()
        self._tracer = tracer
        self._secret = secret
        self._nonces = Nonces(TOLERANCE)
        planned = plan(release.pipeline)
        self._steps = planned.steps
        self._indexes = {step.name: step.index for step in planned.steps}
        self._allowed = Allowed(prefixes, frozenset(planned.catalogue.canonical_types()))
        self._boundary = Boundary()
        self._logged = NewNames()

    @property
    def must_stop(self) -> bool:
        """True once the worker has to end: it cannot do what the release pins, or too many threads are abandoned."""
        return self.release.must_stop or self.supervisor.must_restart

    def respond(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        hung_up: Callable[[], bool] = lambda: False,
    ) -> Response:
        """Return status and body for one request. Checks its signature, age and nonce before it reads the body.

        The liveness check needs no signature. `hung_up` returns True once the caller has closed the connection; steps
        can check for that, because the outcome is no longer needed.
        """
        if METHODS.get(path) is None:
            return 404, b""
        if METHODS[path] != method:
            return 405, b""
        if path == HEALTH_PATH:
            return 200, b'{"status":"UP","checks":[]}'
        now = datetime.now(UTC)
        try:
            nonce, sent = check_signature(self._secret, method, path, headers, body, now=now, tolerance=TOLERANCE)
            if not self._nonces.is_new(nonce, sent, now):
                raise Refused("the nonce was used before")
        except Refused as error:
            warn("Refused a request for %s: %s", path, error)
            return 401, b""
        except Crowded:
            warn("Refused a request for %s: %d requests are remembered", path, MOST_NONCES)
            return 503, b""
        if path == CAPABILITIES_PATH:
            return 200, self.capabilities().to_json().encode()
        try:
            command = parse(TransitionCommand, body)
        except Malformed as error:
            warn("Refused a malformed command: %s", error)
            return 400, b""
        self._log_unknown(command)
        parent = received(_header(headers, "traceparent") or NONE)
        reporter = Reporter()
        with bound(self.release.log_fields(command, parent)):
            current.set(reporter)  # the next command of this thread replaces it
            if self._tracer is None or parent == NONE:
                result = self._run(command, hung_up, reporter)
            else:
                with self._tracer.transition(parent, self.release.span_attributes(command)) as transition:
                    result = self._run(command, hung_up, reporter, transition)
        if reporter.reports is not None and _header(headers, READS_REPORTS):
            result = with_report(result, reporter.reports.with_all_lines(self._indexes))
        return 200, result

    def capabilities(self) -> Capabilities:
        """Return the identity of the hosted release."""
        identity = self.release.identity
        return Capabilities(
            protocol_version="1",
            provider_name="rest",
            pipeline_id=identity.pipeline_id,
            contract_version=identity.contract_version,
            release_version=identity.release_version,
            artifact_id=self.release.artifact_id,
            artifact_digest=self.release.artifact_digest,
        )

    def _run(
        self,
        command: TransitionCommand,
        hung_up: Callable[[], bool],
        reporter: Reporter,
        transition: Transition | None = None,
    ) -> bytes:
        """Return the result of a command; a failure if anything raises."""
        result = self._boundary.run(
            command.execution_id,
            lambda: self._execute(command, hung_up, reporter, transition),
            lambda failed: failure_of(command, failed),
        )
        if reporter.reports is not None:
            end_lines(reporter.reports)
        return result

    def _execute(
        self,
        command: TransitionCommand,
        hung_up: Callable[[], bool],
        reporter: Reporter,
        transition: Transition | None,
    ) -> bytes:
        """Check the identity of one command, then decode its payload, then run its steps."""
        mismatch = self._mismatch(command)
        if mismatch is not None:
            return failure(command, ILLEGAL_ARGUMENT, mismatch)
        unsupported = _unsupported(command)
        if unsupported is not None:
            return encoded(command, unsupported, self._steps)
        try:
            value, shape = self._input(command.input)
            outcome = self.release.run(
                value,
                start=command.current_step_index,
                stop=stop_of(command, self._steps),
                # The identity is that of the command.
                context=partial(
                    self.release.context,
                    command,
                    command.tenant_id,
                    hung_up,
                    reporting=reporter,
                    heartbeats=command.last_heartbeat,
                ),
                is_cancelled=hung_up,
                shape=shape,
                around=None if transition is None else transition.in_step,
                limits=command.step_timeouts,
                item_policies=command.item_policies,
                supervisor=self.supervisor,
            )
        except (PayloadRefused, ValueError) as error:
            return failure(command, ILLEGAL_ARGUMENT, str(error))
        if transition is not None and isinstance(outcome, Failed):
            transition.fail(outcome.failure_class, outcome.step_index)
        return encoded(command, outcome, self._steps)

    def _mismatch(self, command: TransitionCommand) -> str | None:
        pin = self.release.identity
        contract, release = command.versions
        if (command.pipeline_id, contract, release) == (pin.pipeline_id, pin.contract_version, pin.release_version):
            return None
        return (
            f"Transition command targets pipelineId={command.pipeline_id}, contractVersion={contract}, "
            f"releaseVersion={release} but local worker is pipelineId={pin.pipeline_id}, "
            f"contractVersion={pin.contract_version}, releaseVersion={pin.release_version}"
        )

    def _input(self, payload: TypedPayload) -> tuple[Any, Shape]:
        """Return the input and its shape. A MULTI snapshot and a list are streams."""
        if payload.payload_type_id == SNAPSHOT:
            snapshot = read_snapshot(payload)
            self._log_unknown(snapshot)
            return snapshot_value(snapshot, self._allowed), "MULTI" if snapshot.shape == "MULTI" else "UNI"
        return plain(payload, self._allowed), "MULTI" if payload.payload_type_id == LIST else "UNI"

    def _log_unknown(self, message: BaseModel) -> None:
        for name in self._logged.among(unknown_members(message)):
            inform("Ignored the unknown member %s of a command", name)


def _header(headers: Mapping[str, str], name: str) -> str:
    return next((value for header, value in headers.items() if header.lower() == name.lower()), "")


def _unsupported(command: TransitionCommand) -> Failed | None:
    """Return why no step of a command may run; None for a command of a kind that pipelines in Python support."""
    if command.page_context is not None:
        return Failed("PAGED_SOURCE_UNSUPPORTED", "a pipeline in Python has no paged sources", retryable=False)
    if not command.is_replay:
        message = f"a pipeline in Python has no commands, so {command.redrive_intent} has no effect to repeat"
        return Failed("COMMAND_REDRIVE_UNSUPPORTED", message, retryable=False)
    return None
