"""`pipelines dev` at work: an author saves, and kills it."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from embedded.product import PROJECT
from tenancy.roles import Scope
from tests.e2e.orders import PIPELINES
from tests.running import TenantInUse, eventually
from wire.worker_keys import worker_key

P = "tests.pinned"
# It starts processes one after the other, which takes long on a busy machine.
pytestmark = pytest.mark.timeout(240)


class Desk:
    """The folder and the terminal of an author whose coordinator runs in the same folder."""

    def __init__(self, tenant: TenantInUse, folder: Path) -> None:
        self.tenant = tenant
        self.folder = folder
        self.source, self.input, self.gate = folder / "pinned.py", folder / "input.json", folder / "gate"
        shutil.copy(PIPELINES / "v1" / "pinned.py", self.source)
        self.code = self.source.read_text()
        variables = {
            "COORDINATOR_URL": tenant.product.url,
            "COORDINATOR_TENANT": tenant.tenant.slug,
            "COORDINATOR_TOKEN": tenant.token(Scope),
            "PIPELINES_BROKER_URL": tenant.product.broker_url(tenant.tenant.slug),
            "PIPELINES_WORKER_KEY": worker_key(tenant.product.environment["WORKER_SECRET"], tenant.tenant.slug).text,
        }
        file = folder / ".coordinator" / "coordinator.env"
        self.temporary = folder / ".temporary"  # what a killed process leaves
        for place in (file.parent, self.temporary):
            place.mkdir()
        file.touch(0o600)
        file.write_text("".join(f"export {name}='{value}'\n" for name, value in variables.items()))

    @contextmanager
    def dev(self, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run the command, and kill it at the end of the block."""
        self.log = self.folder / "terminal.log"
        with self.log.open("wb") as terminal:
            process = subprocess.Popen(
                [sys.executable, "-m", "pipelines", "dev", "pinned.py", *options],
                cwd=self.folder,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "TMPDIR": str(self.temporary)},
                stdout=terminal,
                stderr=terminal,
                # A shell that runs the tests in the background makes its children ignore Ctrl-C.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def shows(self, *texts: str) -> str:
        """Wait until the terminal shows each text, and return all that it shows."""
        for text in texts:
            try:
                eventually(lambda text=text: text in self.log.read_text(), seconds=60, what=text)  # type: ignore[misc]
            except AssertionError as error:
                raise AssertionError(f"{error}:\n{self.log.read_text()}") from None
        return self.log.read_text()

    def hosted(self, *versions: str) -> None:
        """Wait until workers of exactly these releases run."""

        def running() -> bool:
            items = self.tenant.get("workers")["items"]
            return [item["pin"]["releaseVersion"] for item in items if item["state"] == "HEALTHY"] == list(versions)

        eventually(running, what=f"workers of {versions}")


def test_each_save_is_released_and_older_executions_end_where_they_began(tenant: TenantInUse, tmp_path: Path) -> None:
    desk = Desk(tenant, tmp_path)
    desk.input.write_text(json.dumps({"number": 1, "gate": str(desk.gate)}))
    with desk.dev("--input=input.json") as process:
        desk.shows("built      tests.pinned: 1 step", "published  dev-1", "hosted     dev-1", "active     dev-1")
        desk.shows("ready      dev-1", "submitted", "watching 2 files")
        [held] = tenant.get("executions")["items"]
        tenant.wait_until_begun(held["executionId"])
        desk.source.write_text(desk.code + "import nowhere\n")
        shown = desk.shows("error: MODULE_FAILED")
        assert "Traceback" not in shown
        desk.input.write_text(json.dumps({"number": 2, "fail_times": 1}))
        desk.source.write_text(
            desk.code.replace("code v1", "code v2").replace(
                "    while", '    print("settles", order.number)\n    while'
            )
        )
        desk.shows("active     dev-2 replaces dev-1", "dev-2      | settles 2")
        shown = desk.shows("retrying", "RuntimeError: attempt 0 of v1 fails\n  attempt 2 begins at")
        assert 'File "pinned.py", line' in shown
        desk.gate.touch()
        desk.shows('"code v1, attempt 0"', "ended      dev-1: its executions have finished")
        desk.hosted("dev-2")
        held = tenant.eventually_accepted(P, {"number": 3, "gate": str(tmp_path / "another")}, "held")
        tenant.wait_until_begun(held["executionId"])
        process.send_signal(signal.SIGINT)
        desk.shows("ending     dev-2")
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 0
        desk.shows("unfinished executions of dev-2 continue when `pipelines dev` runs again")

    # Another session continues with what the coordinator knows, and its workers end with it although it is killed.
    (tmp_path / "another").touch()
    desk.source.write_text(desk.code.replace("code v1", "code v3"))
    with desk.dev("--input={}") as process:
        desk.shows("ready      dev-3", "error: COORDINATOR_REFUSED: 422", "resumed    dev-2")
        desk.shows(f"succeeded  {held['executionId']}  dev-2")
        process.kill()
    desk.hosted()
    with desk.dev():
        assert "published" not in desk.shows("ready      dev-3")
    activations = tenant.get(f"pipelines/{P}/activations")["items"]
    assert [activation["releaseVersion"] for activation in activations] == ["dev-3", "dev-2", "dev-1"]


def test_a_worker_that_a_step_ends_is_restarted_and_a_refusal_is_printed(tenant: TenantInUse, tmp_path: Path) -> None:
    desk = Desk(tenant, tmp_path)
    crash = (
        "    if order.number == 9 and not (at := Path(order.gate)).exists():\n        at.touch()\n        os._exit(3)\n"
    )
    desk.source.write_text(
        desk.code.replace("import time\n", "import os\nimport time\n").replace("    while", f"{crash}    while")
    )
    with desk.dev():
        desk.shows("ready      dev-1")
        done = tenant.accepted(P, {"number": 9, "gate": str(desk.gate)}, "crash")["executionId"]
        desk.shows("restarted  the worker of dev-1 ended with status 3", f"succeeded  {done}  dev-1")
        tenant.change_policy(P, approvals=1)
        desk.source.write_text(desk.code)
        desk.shows("error: COORDINATOR_REFUSED: 409 APPROVAL_REQUIRED:")
        assert tenant.get(f"pipelines/{P}")["activeReleaseVersion"] == "dev-1"
