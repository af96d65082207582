import json
import py_compile
import signal
import threading
import zipfile
from collections.abc import Iterator
from contextvars import copy_context
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path

import pytest

from pipelines.worker.allowed_code import AllowedCode, ForeignModule
from pipelines.worker.host import Host
from pipelines.worker.outcomes import Report
from tests.hostile.expected import FAILURES, PIPELINE
from tests.unit.pipelines.worker.conftest import Hosted, command, heartbeat, hosting, sealed
from tests.unit.pipelines.worker.hosting_process import (
    FLOW,
    Environment,
    at_import,
    hosted,
    hosted_each,
    in_step,
    packed,
)
from wire.log_lines import LineFormatter
from wire.messages.celery_messages import LONGEST_TRACEBACK, HeldLease, Outcome, OutcomeGroup
from wire.messages.sealing import decode, verify

EXTENSION = Path(str(getattr(find_spec("_cffi_backend"), "origin", "")))
"""Any extension module."""
FINDER = """
import importlib.util, sys

class Finder:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == "edited":
            return importlib.util.spec_from_file_location(name, "{file}")

def install():
    sys.meta_path.append(Finder)
"""
TRICKS = {
    "a module that no distribution has": "import added",
    "a module that was changed after its installation": "import changed",
    "an editable install with a finder": "import edited",
    "sys.path": "import os, sys; sys.path.insert(0, os.environ['OUTSIDE']); import stranger",
    "a compiled file": """
import os
file = os.environ["OUTSIDE"] + "/stranger.py"
with open(file) as source:
    exec(compile(source.read(), file, "exec"))
""",
    "an archive": """
import os, zipimport
zipimport.zipimporter(os.environ["OUTSIDE"] + "/archive.zip").load_module("stranger")
""",
    "an extension module": "import os, sys; sys.path.insert(0, os.environ['OUTSIDE']); import _cffi_backend",
    "code without its source": "import os, sys; sys.path.insert(0, os.environ['OUTSIDE']); import stranger_compiled",
    "a new file in the artifact's folder": """
from pathlib import Path
Path("shop/stranger.py").write_text("")
import shop.stranger
""",
    "a changed file of the artifact": """
import importlib, shop
from pathlib import Path
Path(shop.__file__).write_text("stranger = 1")
importlib.reload(shop)
""",
}
CAUGHT = """
import os, sys
sys.path.insert(0, os.environ["OUTSIDE"])
try:
    import stranger
except ImportError:
    pass
"""
NAMED = {
    "a module that no distribution has": "added",
    "a module that was changed after its installation": "changed",
    "an editable install with a finder": "edited",
    "an extension module": "_cffi_backend",
    "a changed file of the artifact": "shop",
}
"""What the error names, if not the stranger."""
UNDONE = ("signal handlers", "silence in the log")
"""What these change in the process is undone."""


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outside")
    modules = ("stranger.py", "start/sitecustomize.py", "project/edited.py", "project/sourced.py")
    for file in (*modules, "shop/data.txt", "template.html"):
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text("")
    py_compile.compile(str(folder / "stranger.py"), str(folder / "stranger_compiled.pyc"), dfile="<unknown>")
    with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
        archive.writestr("stranger.py", "")
    (folder / EXTENSION.name).write_bytes(EXTENSION.read_bytes())
    return folder


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory, outside: Path) -> Path:
    """The interpreter of an environment with few distributions, because a worker reads the records of all."""
    environment = Environment(tmp_path_factory.mktemp("environment"))
    environment.install("library", {"library.py": "", "changed.py": ""})
    (environment.packages / "changed.py").write_text("changed = 1")
    (environment.packages / "added.py").write_text("")
    environment.install("project", {"project_finder.py": FINDER.format(file=outside / "project/edited.py")})
    (environment.packages / "project.pth").write_text(
        f"{outside / 'project'}\nimport project_finder; project_finder.install()\n"
    )
    return environment.python


def test_foreign_code_prevents_a_start(python: Path, tmp_path: Path, outside: Path, subtests: pytest.Subtests) -> None:
    releases = [packed(tmp_path / str(number), at_import(code)) for number, code in enumerate(TRICKS.values())]
    for trick, [refused] in zip(TRICKS, hosted_each(*releases, python=python, OUTSIDE=str(outside)), strict=True):
        with subtests.test(trick):
            assert refused["code"] == "FOREIGN_MODULE"
            assert NAMED.get(trick, "stranger") in refused["message"]


def test_a_worker_does_not_start_with_another_path_contract_or_module(
    python: Path, tmp_path: Path, outside: Path, subtests: pytest.Subtests
) -> None:
    """The working folder, PYTHONPATH and folders in .pth files are not on the path."""
    files: list[tuple[dict[str, str], str]] = [
        (at_import("import stranger"), "MODULE_FAILED"),
        (at_import("import sourced"), "MODULE_FAILED"),
        ({"json.py": ""}, "MODULE_SHADOWED"),
        ({"pydantic/__init__.py": ""}, "MODULE_SHADOWED"),
        ({f"signal{EXTENSION_SUFFIXES[0]}": ""}, "MODULE_SHADOWED"),
    ]
    releases = [packed(tmp_path / str(number), sources) for number, (sources, _) in enumerate(files)]
    first = packed(tmp_path / "first", {})
    other = packed(tmp_path / "other", {"shop/flow.py": FLOW.replace("def work", "def other")})
    printed = hosted_each(first, other, *releases, python=python, folder=outside, PYTHONPATH=str(outside))
    assert printed[0][0]["outputs"] == ["done"]
    assert printed[1][0]["code"] == "CONTRACT_MISMATCH"
    for (sources, code), [refused] in zip(files, printed[2:], strict=True):
        with subtests.test(str(sources)):
            assert refused["code"] == code


def test_code_from_elsewhere_fails_the_transition_and_a_process_hosts_one_artifact(
    python: Path, tmp_path: Path, outside: Path
) -> None:
    """The artifact, installed and generated code and other programs are not restricted.

    Generated code may bear the name of a file: of a template, as from Jinja2, of none, or of one with other text.
    """
    extension = f"_cffi_backend{EXTENSION_SUFFIXES[0]}"
    code = """
import os, subprocess, sys
exec("generated = 1")
for name in ("/project/sourced.py", "/template.html", "/generated.py"):
    exec(compile("generated = 1", os.environ["OUTSIDE"] + name, "exec"))
subprocess.run([sys.executable, os.environ["OUTSIDE"] + "/stranger.py"], check=True)
import _cffi_backend, library, packaging.metadata
return open("shop/data.txt").read() + os.path.relpath(_cffi_backend.__file__)
"""
    files: dict[str, str | bytes] = {"shop/data.txt": "inside ", extension: EXTENSION.read_bytes(), **in_step(code)}
    releases = packed(tmp_path / "a", files), packed(tmp_path / "b", in_step(CAUGHT))
    again = "print(json.dumps(shown(ran(hosted))))\nhost_artifact(descriptor, 'acme', allow_drift=True)"
    (done, _, refused), (failed, later, _) = hosted_each(
        *releases, python=python, then=again, folder=outside, OUTSIDE=str(outside)
    )
    assert (done["outputs"], done["must_stop"]) == ([f"inside {extension}"], False)
    assert refused["code"] == "ARTIFACT_ALREADY_HOSTED"
    assert (failed["failure_class"], failed["retryable"]) == ("FOREIGN_MODULE", False)
    assert failed["must_stop"]
    assert (later["failure_class"], later["retryable"]) == ("FOREIGN_MODULE", True)


def test_an_import_of_an_abandoned_step_blames_no_later_transition(tmp_path: Path) -> None:
    code = AllowedCode(tmp_path, {})
    code.begin_transition()
    abandoned = copy_context()
    assert code.end_transition() is False
    code.begin_transition()
    with pytest.raises(ForeignModule):
        abandoned.run(code.require, str(tmp_path / "late.py"))
    assert (code.end_transition(), "late" in code.foreign) == (False, True)


def test_a_module_that_python_imports_at_its_start_is_refused(python: Path, tmp_path: Path, outside: Path) -> None:
    [refused] = hosted(packed(tmp_path, {}), PYTHONPATH=str(outside / "start"), python=python)
    assert refused["code"] == "FOREIGN_MODULE"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    with hosting(PIPELINE, "hostile", tmp_path_factory.mktemp("hostile")) as made:
        yield made


@pytest.fixture
def host(hostile: Hosted) -> Host:
    return hostile.host()


def payload(trick: str) -> str:
    return json.dumps({"number": 7, "trick": trick})


def answers(host: Host, *tricks: str) -> list[Outcome]:
    """Return the outcomes of one group in the order of its commands, exactly one for each."""
    commands = [command(payload=payload(trick), result_shape="MATERIALIZED_MULTI") for trick in tricks]
    reports: list[Report] = []
    runner = threading.Thread(target=host.execute, args=(sealed(host, *commands), reports.append))
    runner.start()
    runner.join(60)
    host.drop_leases(reports)
    outcomes = decode(verify(host.sealed(reports), lambda _: [Hosted.key]), OutcomeGroup).outcomes
    assert sorted(outcome.lease_token for outcome in outcomes) == sorted(command.lease_token for command in commands)
    by_lease = {outcome.lease_token: outcome for outcome in outcomes}
    return [by_lease[command.lease_token] for command in commands]


def held(host: Host) -> list[HeldLease]:
    sent = heartbeat(host)
    return sent.running + sent.waiting


def is_clean(text: str, allowed: str = "") -> bool:
    return all(char in allowed or (ord(char) >= 32 and not 0xD800 <= ord(char) < 0xE000) for char in text)


def test_every_command_gets_an_outcome(host: Host, caplog: pytest.LogCaptureFixture, subtests: pytest.Subtests) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    before, *outcomes, _, _, after = answers(host, "well", *FAILURES, *UNDONE, "well")
    assert signal.getsignal(signal.SIGTERM) == handler
    assert [outcome.output_payloads for outcome in (before, after)] == [['{"value": 7}']] * 2
    assert held(host) == []
    for trick, outcome in zip(FAILURES, outcomes, strict=True):
        with subtests.test(trick):
            assert outcome.failure is not None
            assert (outcome.failure.failure_class, outcome.failure.retryable) == FAILURES[trick]
            assert 0 < len(outcome.failure.message) <= 512
            assert is_clean(outcome.failure.message)
            assert len(outcome.failure.traceback) <= LONGEST_TRACEBACK
            assert is_clean(outcome.failure.traceback, "\t\n")
            assert str(outcome.execution_id) in caplog.text


def test_no_lease_is_held_for_an_outcome_that_cannot_be_reported(host: Host) -> None:
    """A thread continues with the next command after an internal error."""
    reported: list[Report] = []

    def report(answer: Report) -> None:
        reported.append(answer)
        raise MemoryError

    host.execute(sealed(host, *(command(payload=payload("well")) for _ in range(5))), report)
    assert len(reported) == 5
    assert held(host) == []


def test_a_failure_carries_a_traceback_without_values_or_folders(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    """The log has its frames without the message."""
    [outcome] = answers(host, "an error")
    assert outcome.failure is not None
    lines = outcome.failure.traceback.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].startswith('  File "hostile.py", line ')
    assert lines[-1] == "RuntimeError: no luck"
    assert str(PIPELINE) not in outcome.failure.traceback
    assert "pipelines/worker/runner.py" not in outcome.failure.traceback
    [record] = [record for record in caplog.records if str(outcome.execution_id) in record.getMessage()]
    shown = json.loads(LineFormatter("json").format(record))
    assert [frame.split(":")[0] for frame in shown["exception"]["frames"]] == ["hostile.py", "hostile.py"]
    assert "no luck" not in str(shown)
