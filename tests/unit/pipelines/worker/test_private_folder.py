"""The private folder of a worker is removed when it ends, also by SIGTERM."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from signal import SIGTERM

import pytest

from embedded.children import Child, free_port
from embedded.product import PROJECT
from tests.building import eventually
from tests.unit.pipelines.worker.hosting_process import at_import, packed


@pytest.fixture
def started(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Child]:
    """A worker of a pipeline that runs the test's code when it is imported."""
    (tmp_path / "temporary").mkdir()
    (tmp_path / "key").write_text("secret")
    descriptor = packed(tmp_path, at_import(request.param))
    options = ["--protocol=rest", f"--bind=127.0.0.1:{free_port()}", "--key-file=key", "--allow-environment-drift"]
    child = Child(
        [sys.executable, "-m", "pipelines", "worker", f"--release={descriptor.relative_to(tmp_path)}", *options],
        name="worker",
        log=tmp_path / "log",
        environment={"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "TMPDIR": str(tmp_path / "temporary")},
        directory=tmp_path,
    )
    yield child
    child.stop()


@pytest.mark.parametrize(
    ("started", "what", "status"),
    [
        ("", "Hosting tenantId=", 0),
        ("import time; print('importing', flush=True); time.sleep(60)", "importing", 128 + SIGTERM),
    ],
    indirect=["started"],
    ids=["while it serves", "while it starts"],
)
def test_sigterm_removes_the_private_folder(started: Child, tmp_path: Path, what: str, status: int) -> None:
    eventually(lambda: what in started.log.read_text() or not started.running, what=what)
    [folder] = (tmp_path / "temporary").iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert started.stop() == status, started.log.read_text()
    assert list((tmp_path / "temporary").iterdir()) == []
