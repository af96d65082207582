"""The environment that an artifact requires is read for display. Wrong content is a warning and rejects nothing."""

import io
import json

from tests.cases import cases
from tests.unit.wire.release.releasing import Store, archive, artifact, codes, older, sha
from wire.archive.reader import read_layout
from wire.documents.contract import LOCK_ENTRY, PYTHON_ENTRY
from wire.findings import Severity
from wire.release.required_environment import (
    LONGEST,
    MAX_DISTRIBUTIONS,
    MAX_LOCK_BYTES,
    MAX_PYTHON_BYTES,
    RequiredEnvironment,
    required_environment,
)
from wire.release.verification import verify

PYTHON = {"implementation": "cpython", "version": "3.12.1", "platform": "linux-x86_64"}
LOCK = """# locked by a tool
attrs==25.1.0 \\
    --hash=sha256:00 \\
    --hash=sha256:11

Django[argon2]==5.2 ; python_version > "3"
local===1+build.7
mine @ https://user:secret@example.org/mine-1.whl --hash=sha256:22
-e other @ file:///srv/other  # a checkout
"""
PLACES = {"python": PYTHON_ENTRY, "lock": LOCK_ENTRY}
LOCKED = (("attrs", "25.1.0"), ("Django", "5.2"), ("local", "1+build.7"), ("mine", ""), ("other", ""))


def read(**entries: bytes | str) -> tuple[RequiredEnvironment | None, list[tuple[str, str]]]:
    layout = read_layout(io.BytesIO(archive(entries={PLACES[name]: body for name, body in entries.items()})))
    assert layout is not None
    environment, findings = required_environment(layout)
    assert {finding.severity for finding in findings} <= {Severity.WARNING}
    return environment, [(finding.code, finding.field) for finding in findings]


def test_the_interpreter_and_the_locked_distributions_are_read() -> None:
    document = json.dumps({"pipeline": "orders:pipeline", **PYTHON})
    assert read(python=document, lock=LOCK) == (RequiredEnvironment(**PYTHON, distributions=LOCKED), [])


@cases(
    "document",
    [
        *(b"[]", b"\xff", b'{"implementation": "a", "implementation": "b"}'),
        *(json.dumps({**PYTHON, "platform": value}) for value in (3, "", "\u202e", "x" * (LONGEST + 1))),
        json.dumps({**PYTHON, "more": "x" * MAX_PYTHON_BYTES}),
    ],
)
def test_a_wrong_python_json_is_a_warning(document: bytes | str) -> None:
    environment, findings = read(python=document, lock="a==1")
    assert environment == RequiredEnvironment("", "", "", (("a", "1"),))
    assert findings == [("ARTIFACT_PYTHON_UNREADABLE", PYTHON_ENTRY)]


@cases(
    "lock",
    [
        *(b"\xff", b"a==1\x00", "a>=1", "a==<script>", "x" * MAX_LOCK_BYTES + "x", "a==1\n" * (MAX_DISTRIBUTIONS + 1)),
        *("a[" + "[" * 100_000, "a @ " + "x" * 100_000 + " y"),
    ],
)
def test_a_wrong_lock_is_a_warning(lock: bytes | str) -> None:
    environment, findings = read(python=json.dumps(PYTHON), lock=lock)
    assert environment == RequiredEnvironment(**PYTHON, distributions=())
    assert findings == [("ARTIFACT_LOCK_UNREADABLE", LOCK_ENTRY)]


def test_the_verdict_has_the_environment_and_wrong_entries_reject_no_artifact() -> None:
    data = archive(entries={PYTHON_ENTRY: json.dumps(PYTHON), LOCK_ENTRY: "a==1"})
    verdict = verify(older(artifact("app", "jar", data)), Store(data))
    assert (verdict.findings, verdict.accepted) == ((), True)
    assert verdict.environments == {sha(data): {**PYTHON, "distributions": [{"name": "a", "version": "1"}]}}
    data = archive(entries={PYTHON_ENTRY: "no"})
    verdict = verify(older(artifact("app", "jar", data)), Store(data))
    assert (verdict.accepted, verdict.environments) == (True, {})
    assert codes(verdict, Severity.WARNING) == [("ARTIFACT_PYTHON_UNREADABLE", f"artifacts[0]!{PYTHON_ENTRY}")]
