"""Verifies artifacts in child processes, so that an artifact can only harm its own verification.

The children get open files and documents, but no settings: no secrets, database, broker or store (ADR 33). A child that
returned a verdict is reused for the next release.
"""

import atexit
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from django.conf import settings

from releases.registration import verification_process
from wire.documents.descriptor import DESCRIPTOR_NAME, Descriptor, artifact_field
from wire.findings import Finding
from wire.release.verification import Checked, OpenArtifact, Verdict

TRIES = 3
"""A release is rejected after this many children have died while they verified it."""
MAX_JOBS = 100
"""A child is replaced after this many releases, so that its memory stays small."""
STARTUP_SECONDS = 30.0
RENEW_SECONDS = 20.0
log = logging.getLogger(__name__)
T = TypeVar("T")


class VerificationUnavailable(Exception):
    """There is no verdict, for a reason other than the artifact. A retry may succeed."""


class _Died(Exception):
    """The child ended, or was killed, without a verdict."""


class _Exceeded(Exception):
    """The artifact needs more than its limits allow."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def verify(
    descriptor: Descriptor,
    open_artifact: OpenArtifact,
    contract_document: bytes | None = None,
    *,
    identity_only: bool = False,
    while_waiting: Callable[[], object] = lambda: None,
    checked: Checked = lambda _position, _findings: None,
) -> Verdict:
    """Return the verdict of `wire.release.verification.verify`, computed in a child process.

    If the release exceeds its CPU time or memory, the verdict has a finding. The same applies if TRIES children died,
    or if all of them together exceeded VERIFICATION_SECONDS. Opening the artifacts does not count. `while_waiting` is
    called at least every RENEW_SECONDS while the child works, and `checked` for each stored artifact with its findings,
    by every child that reads it. Raises what `open_artifact` raises, and
    `VerificationUnavailable` if no child can be started or a file cannot be read.
    """
    job = verification_process.job(
        descriptor,
        contract_document,
        identity_only=identity_only,
        cpu_seconds=settings.VERIFICATION_CPU_SECONDS,
        memory_bytes=settings.VERIFICATION_MEMORY_BYTES,
    )
    child, failure, deadline = None, "", _Deadline(settings.VERIFICATION_SECONDS)
    for _ in range(TRIES):
        child = _child()
        try:
            response = child.run(job, descriptor, open_artifact, while_waiting, checked, deadline)
        except _Exceeded as error:
            child.stop()
            return _rejected(descriptor, child, error.code, str(error))
        except _Died as error:
            child.stop()
            failure = str(error)
            log.warning("a verification process %s", failure)
            if not deadline.left:
                break
        except BaseException:
            child.stop()
            raise
        else:
            _keep(child)
            return verification_process.verdict_from(response)
    message = f"The artifact cannot be verified. The last process that tried {failure}."
    return _rejected(descriptor, child, "ARTIFACT_NOT_VERIFIABLE", message)


def _rejected(descriptor: Descriptor, child: "_Child | None", code: str, message: str) -> Verdict:
    position = child.position if child is not None else None
    field = DESCRIPTOR_NAME if position is None else artifact_field(position)
    return Verdict((*descriptor.warnings, Finding(code, field, message)), None, descriptor.artifacts[0].artifact_id)


class _Deadline:
    """The end of the time in which a release must be verified. Opening its artifacts does not count."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return max(self._at - time.monotonic(), 0.0)

    @contextmanager
    def suspended(self) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._at += time.monotonic() - began


class _Child:
    """A verification process. `position` is the index of the artifact that it opened last, or None."""

    def __init__(self) -> None:
        parent_end, child_end = socket.socketpair()
        with child_end:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "releases.registration.verification_process"],
                    stdin=child_end.fileno(),
                    stdout=subprocess.DEVNULL,
                    cwd="/",
                    env=_environment(),
                    start_new_session=True,  # Ctrl-C in a terminal reaches the parent alone
                )
            except OSError as error:
                parent_end.close()
                raise VerificationUnavailable(f"no process can be started ({type(error).__name__})") from error
        self._socket = parent_end
        self._connection = Connection(os.dup(parent_end.fileno()))
        self.jobs = 0
        self.position: int | None = None
        try:
            self._receive(_Deadline(STARTUP_SECONDS), lambda: None)
        except (_Died, _Exceeded) as error:
            self.stop()
            raise VerificationUnavailable(f"a process {error} as it started") from error

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def run(
        self,
        job: bytes,
        descriptor: Descriptor,
        open_artifact: OpenArtifact,
        while_waiting: Callable[[], object],
        checked: Checked,
        deadline: _Deadline,
    ) -> dict[str, Any]:
        """Return the child's verdict. Raises `_Exceeded`, `_Died`, and `VerificationUnavailable`."""
        self.jobs, self.position = self.jobs + 1, None
        self._guarded(lambda: self._connection.send_bytes(job))
        while True:
            response = self._receive(deadline, while_waiting)
            match response:
                case {"open": int(position)}:
                    self.position = position
                    with deadline.suspended():
                        file = open_artifact(descriptor.artifacts[position])
                    self._pass(file)
                case {"checked": int(position), "findings": list(findings)}:
                    checked(position, [Finding.from_json(finding) for finding in findings])
                case {"verdict": dict(verdict)}:
                    return verdict
                case {"exceeded": _}:
                    limit = settings.VERIFICATION_MEMORY_BYTES
                    raise _Exceeded("ARTIFACT_MEMORY_EXCEEDED", f"Verification needs more than {limit} bytes of memory")
                case _:
                    raise VerificationUnavailable(f"a file cannot be read ({response.get('unreadable')})")

    def stop(self) -> None:
        """Kill the process and release its resources."""
        self._process.kill()
        self._process.wait()
        self._connection.close()
        self._socket.close()

    def _pass(self, file: BinaryIO | None) -> None:
        """Pass the open file of an artifact to the child, or NO_FILE if the artifact has no file."""
        if file is None:
            self._guarded(lambda: self._socket.sendall(verification_process.NO_FILE))
            return
        with file:
            self._guarded(lambda: socket.send_fds(self._socket, [verification_process.FILE], [file.fileno()]))

    def _receive(self, deadline: _Deadline, while_waiting: Callable[[], object]) -> dict[str, Any]:
        while not self._guarded(lambda: self._connection.poll(min(RENEW_SECONDS, deadline.left))):
            while_waiting()
            if not deadline.left:
                raise _Died("did not finish in time")
        response: dict[str, Any] = json.loads(self._guarded(self._connection.recv_bytes))
        return response

    def _guarded(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except (EOFError, OSError):
            raise self._end() from None

    def _end(self) -> Exception:
        """Return why the child closed its end of the socket."""
        code = self._process.wait()
        if code == -signal.SIGXCPU:
            seconds = settings.VERIFICATION_CPU_SECONDS
            return _Exceeded("ARTIFACT_CPU_EXCEEDED", f"Verification needs more than {seconds} seconds of CPU time")
        return _Died(f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}")


def _environment() -> dict[str, str]:
    """Return only the variables that a child needs to find its modules and a folder for temporary files."""
    inherited = {name: os.environ[name] for name in ("TMPDIR", "PATH") if name in os.environ}
    return {**inherited, "PYTHONPATH": str(Path(verification_process.__file__).parents[2])}


_idle: list[_Child] = []
_lock = threading.Lock()


def _child() -> _Child:
    while True:
        with _lock:
            if not _idle:
                break
            child = _idle.pop()
        if child.is_alive:
            return child
        child.stop()
    return _Child()


def _keep(child: _Child) -> None:
    with _lock:
        if child.jobs < MAX_JOBS and len(_idle) < settings.VERIFICATION_PROCESSES:
            _idle.append(child)
            return
    child.stop()


@atexit.register
def _stop_idle() -> None:
    with _lock:
        while _idle:
            _idle.pop().stop()
