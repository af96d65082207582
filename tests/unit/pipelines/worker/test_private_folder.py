"""The private folder of a worker is removed when it ends, also by SIGTERM."""

import os
import sys
from pathlib import Path
from signal import SIGTERM

from embedded.children import Child, free_port
from embedded.product import PROJECT
from tests.building import eventually
from tests.unit.pipelines.worker.hosting_process import at_import, packed


def test_sigterm_removes_the_private_folder_while_the_worker_imports_its_pipeline(tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    (tmp_path / "key").write_text("secret")
    descriptor = packed(tmp_path, at_import("import time; print('importing', flush=True); time.sleep(60)"))
    options = ["--protocol=rest", f"--bind=127.0.0.1:{free_port()}", "--key-file=key", "--allow-environment-drift"]
    worker = Child(
        [sys.executable, "-m", "pipelines", "worker", f"--release={descriptor.relative_to(tmp_path)}", *options],
        name="worker",
        log=tmp_path / "log",
        environment={"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "TMPDIR": str(tmp_path / "temporary")},
        directory=tmp_path,
    )
    try:
        eventually(lambda: "importing" in worker.log.read_text() or not worker.running, what="the import")
        [folder] = (tmp_path / "temporary").iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
    finally:
        ended = worker.stop()
    assert ended == 128 + SIGTERM, worker.log.read_text()
    assert list((tmp_path / "temporary").iterdir()) == []
