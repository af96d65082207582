"""Verifies releases in a process without secrets: `python -m releases.registration.verification_process` (ADR 33).

Standard input is a socket to the parent, `verification_pool`. A job arrives as JSON. For each stored artifact
the process requests the file, and the parent passes an open file descriptor. Then the process sends what it found in
it, and at the end the verdict. The process itself opens no files or
connections. Its resource limits protect all other processes from hostile bytes. Pure.
"""

from __future__ import annotations

import base64
import json
import math
import os
import resource
import select
import socket
import threading
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, BinaryIO

from wire.documents.descriptor import ArtifactRef, Descriptor, descriptor_from_json
from wire.findings import Finding
from wire.release.directory import DEFAULT_LIMITS
from wire.release.verification import OpenArtifact, Verdict, verify

NICE = 10
"""Verification gives way to every process that serves requests or records outcomes."""
MAX_OPEN_FILES = 32
FILE, NO_FILE = b"1", b"0"
SOCKET = 0


def job(
    descriptor: Descriptor, contract: bytes | None, *, identity_only: bool, cpu_seconds: int, memory_bytes: int
) -> bytes:
    """Return a job in the form in which the parent sends it. The limits apply to all artifacts together."""
    return json.dumps(
        {
            "descriptor": descriptor.normalised(),
            "contract": None if contract is None else base64.b64encode(contract).decode(),
            "identityOnly": identity_only,
            "cpuSeconds": cpu_seconds,
            "memoryBytes": memory_bytes,
        }
    ).encode()


def verdict_from(response: dict[str, Any]) -> Verdict:
    """Return the verdict that the process sent."""
    findings = tuple(Finding.from_json(finding) for finding in response["findings"])
    return Verdict(**{**response, "findings": findings})


def main() -> None:
    """Serve jobs until the parent closes the socket."""
    os.nice(NICE)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NPROC, 0)
    _limit(resource.RLIMIT_NOFILE, MAX_OPEN_FILES)
    # The process only writes a temporary file for each nested archive.
    _limit(resource.RLIMIT_FSIZE, DEFAULT_LIMITS.inner_bytes)
    with Connection(SOCKET) as parent:
        _send(parent, {"ready": True})
        while True:
            try:
                received = parent.recv_bytes()
            except EOFError:
                return
            _send(parent, _respond(json.loads(received), parent))


def _end_with_parent() -> None:
    """End this process as soon as the parent closes the socket or dies, even if the main thread is busy."""
    hang_up = select.poll()
    hang_up.register(SOCKET, 0)  # a hang-up is always reported
    hang_up.poll()
    os._exit(1)


def _respond(job: dict[str, Any], parent: Connection) -> dict[str, Any]:
    _limit(resource.RLIMIT_AS, int(job["memoryBytes"]))
    _limit_cpu(int(job["cpuSeconds"]))
    descriptor = descriptor_from_json(job["descriptor"])
    contract = None if job["contract"] is None else base64.b64decode(job["contract"])
    try:
        verdict = verify(
            descriptor,
            _opener(descriptor, parent),
            contract,
            identity_only=job["identityOnly"],
            checked=partial(_send_checked, parent),
        )
    except (MemoryError, SystemError):  # CPython raises SystemError where an allocation failed inside it
        return {"exceeded": "memory"}
    except OSError as error:
        return {"unreadable": type(error).__name__}
    members = {field.name: getattr(verdict, field.name) for field in fields(verdict)}
    return {"verdict": {**members, "findings": [finding.to_json() for finding in verdict.findings]}}


def _opener(descriptor: Descriptor, parent: Connection) -> OpenArtifact:
    def open_artifact(artifact: ArtifactRef) -> BinaryIO | None:
        _send(parent, {"open": descriptor.artifacts.index(artifact)})
        with socket.socket(fileno=os.dup(parent.fileno())) as channel:
            reply, files, _, _ = socket.recv_fds(channel, 1, 1)
        if not reply:
            raise EOFError
        return os.fdopen(files[0], "rb") if reply == FILE else None

    return open_artifact


def _send_checked(parent: Connection, position: int, findings: Sequence[Finding]) -> None:
    _send(parent, {"checked": position, "findings": [finding.to_json() for finding in findings]})


def _send(parent: Connection, message: dict[str, Any]) -> None:
    parent.send_bytes(json.dumps(message).encode())


def _limit_cpu(seconds: int) -> None:
    """Allow `seconds` of CPU time from now on. The kernel ends the process at the limit, with SIGXCPU."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime) + seconds)


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


if __name__ == "__main__":
    main()
