"""The wheel of `durable-coordinator[embedded]` in an empty environment, and the documented installation."""

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from embedded.postgres import remove_place
from embedded.product import PROJECT
from tests.building import eventually
from tests.docs import examples
from tests.parts.distributions import installing
from tests.programs import output_of

pytestmark = pytest.mark.timeout(600)
DEMO_SECONDS = 300.0
READY = "Press Ctrl-C"
LOG_IN = re.compile(r"Admin: (?P<url>\S+)/admin/ +user (?P<user>\S+) +password (?P<password>\S+)")
LINK = re.compile(r'\s(?:href|src|hx-get)="(/(?:admin|static)/[^"#?]*)')
SOURCE = "source .coordinator/coordinator.env"
VARIABLES = ["COORDINATOR_URL", "COORDINATOR_TENANT", "COORDINATOR_TOKEN", "COORDINATOR_WEBHOOK_KEY"]
VARIABLES += ["PIPELINES_TENANT", "PIPELINES_BROKER_URL", "PIPELINES_WORKER_KEY"]
SHOP = """\
from pipelines import Pipeline

pipeline = Pipeline("shop")


@pipeline.step
def double(number: int) -> int:
    return 2 * number
"""
PAGES = (
    r"/admin/releases/release/[0-9a-f-]+/",
    r"/admin/executions/execution/[0-9a-f-]+/",
    "/admin/tenancy/tenant/add/",
    "/admin/releases/release/upload/",
    "/static/coordinator/admin.",
)


@dataclass(frozen=True)
class Demo:
    """The demo, which has finished its steps and keeps its processes running."""

    folder: Path
    output: str

    def log_in(self) -> tuple[requests.Session, str]:
        """Return a session of the demo's superuser, and the URL of the web process."""
        match = LOG_IN.search(self.output)
        assert match is not None, self.output
        session, url = requests.Session(), match["url"]
        page = session.get(f"{url}/admin/login/", timeout=30).text
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
        assert token is not None
        form = {"username": match["user"], "password": match["password"], "csrfmiddlewaretoken": token[1]}
        response = session.post(f"{url}/admin/login/", form, timeout=30, allow_redirects=False)
        assert response.status_code == 302
        return session, url


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with only the two wheels and their requirements."""
    folder = tmp_path_factory.mktemp("installed")
    pipelines = installing.build_wheel("durable-pipelines", folder / "pipelines")
    coordinator = installing.build_wheel("durable-coordinator", folder / "coordinator")
    python = installing.empty_environment(folder / "environment")
    installing.install(python, [pipelines], f"durable-coordinator[embedded] @ {coordinator.as_uri()}", "pytest")
    return python


@pytest.fixture(scope="module")
def demo(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """Run the demo on a terminal until it waits for Ctrl-C, and press Ctrl-C at the end."""
    folder = tmp_path_factory.mktemp("demo")
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [python, "-m", "embedded.demo"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "TERM": "dumb"},
        stdin=end,
        stdout=end,
        stderr=end,
        start_new_session=True,
        # A shell that runs the tests in the background makes its children ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    os.close(end)
    try:
        yield Demo(folder, _output_until_ready(terminal))
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


def _output_until_ready(terminal: int) -> str:
    output, deadline = "", time.monotonic() + DEMO_SECONDS
    while READY not in output:
        readable, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        assert readable, f"the demo takes too long:\n{output}"
        try:
            output += os.read(terminal, 65536).decode(errors="replace")
        except OSError:
            pytest.fail(f"the demo has ended:\n{output}")
    return output


def test_the_tests_of_an_author_run_a_pipeline_on_a_coordinator_that_they_start(python: Path, tmp_path: Path) -> None:
    examples.write(tmp_path)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    files = ("test_baskets.py", "test_late_answers.py", "test_hosted.py")
    command: list[str | Path] = [python, "-m", "pytest", "-q", *files]
    assert re.search(r"^5 passed", installing.run(command, tmp_path, TMPDIR=str(scratch)), re.MULTILINE)
    assert list(scratch.iterdir()) == []
    killed = "import os, acme_baskets, pipelines.testing as t\n"
    killed += "with t.coordinator(acme_baskets.pipeline): os.kill(os.getpid(), 9)"
    environment = {**installing.environment(), "TMPDIR": str(scratch)}
    done = subprocess.run([python, "-c", killed], cwd=tmp_path, env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert list(scratch.iterdir()) != []
    eventually(lambda: not _processes_of(scratch), what="no process of the coordinator")


def _processes_of(folder: Path) -> list[Path]:
    """Return the processes that name the folder in their command or environment."""
    files = []
    for file in (*Path("/proc").glob("[0-9]*/cmdline"), *Path("/proc").glob("[0-9]*/environ")):
        with suppress(OSError):
            if str(folder).encode() in file.read_bytes():
                files.append(file)
    return files


def test_it_contains_no_file_that_only_a_checkout_needs(python: Path, tmp_path: Path) -> None:
    code = 'import importlib.metadata as m; print(*m.files("durable-coordinator"), sep="\\n")'
    files = installing.run([python, "-I", "-c", code], tmp_path).split()
    packages = {file.partition("/")[0] for file in files if not file.startswith("..") and ".dist-info/" not in file}
    apps = {"coordinator", "interop", "alerts", "executions", "governance", "outbox", "releases", "tenancy"}
    assert packages == {*apps, "embedded", "foundation"}


def test_every_page_of_the_admin_and_every_file_that_it_loads_is_served(demo: Demo) -> None:
    session, url = demo.log_in()
    visited: set[str] = set()
    waiting = {"/admin/"}
    while waiting:
        path = waiting.pop()
        visited.add(path)
        response = session.get(url + path, timeout=30, allow_redirects=False)
        assert response.status_code == 200, path
        if "text/html" in response.headers["Content-Type"]:
            waiting |= set(LINK.findall(response.text)) - visited
    for page in PAGES:
        assert any(re.match(page, path) for path in visited), page


@dataclass
class Desk:
    """An author's folder outside of the checkout, with `coordinator dev` in one terminal and a shell in another."""

    bin: Path
    folder: Path

    def __post_init__(self) -> None:
        self.environment = {"PATH": f"{self.bin}:{os.environ['PATH']}", "HOME": str(self.folder)}
        (self.folder / "shop.py").write_text(SHOP)

    @contextmanager
    def coordinator(self) -> Iterator[subprocess.Popen[str]]:
        """Run `coordinator dev`, and stop it at the end. The block runs when it is ready."""
        with self._start("exec coordinator dev", stdout=subprocess.PIPE) as dev:
            try:
                assert dev.stdout is not None
                lines = [dev.stdout.readline() for _ in range(4)]
                assert [line.partition(" ")[0] for line in lines] == ["address", "user", "password", "source"], lines
                yield dev
            finally:
                dev.terminate()

    def worker(self, descriptor: Path) -> subprocess.Popen[str]:
        return self._start(f"{SOURCE} && exec pipelines worker --release {descriptor}", stdout=None)

    def _start(self, script: str, *, stdout: int | None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self.environment,
            stdout=stdout,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def shell(self, script: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", "-c", f"{SOURCE} && {script}"]
        return subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)

    def output(self, script: str) -> str:
        done = self.shell(script)
        assert done.returncode == 0, done
        return done.stdout

    def processes(self) -> list[str]:
        """The command lines that name the folder's servers, and the programs at the port of the address."""
        kept = json.loads((self.folder / ".coordinator" / "installation.json").read_text())
        marks = (str(self.folder / ".coordinator"), f"--port={kept['port']}")
        lines = [_command_line(process) for process in Path("/proc").glob("[0-9]*")]
        return [line for line in lines if any(mark in line for mark in marks)]


def _command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder. At the end, the databases in it are removed; root's are elsewhere."""
    yield tmp_path
    for place in (".coordinator", ".local/demo"):
        remove_place(tmp_path / place / "postgres")


def test_a_coordinator_of_one_machine_is_killed_and_continues_with_its_data(python: Path, folder: Path) -> None:
    desk, file = Desk(python.parent, folder), folder / ".coordinator" / "coordinator.env"
    with desk.coordinator() as dev, ExitStack() as workers:
        first = file.read_text()
        assert file.stat().st_mode & 0o777 == 0o600
        assert re.findall(r"^export (\w+)=\S+$", first, re.MULTILINE) == VARIABLES
        again = desk.shell("coordinator dev")
        assert (again.returncode, again.stdout) == (1, "")
        assert f"as process {dev.pid}: source {file}" in again.stderr
        desk.output("pipelines build shop:pipeline --out dist && pipelines release --out dist --release-version 1.0")
        [descriptor] = (folder / "dist").rglob("pipeline-release.json")
        worker = desk.worker(descriptor)
        workers.callback(worker.wait)
        workers.callback(worker.kill)
        desk.output(f"coordinator releases upload {descriptor.parent}")
        eventually(lambda: desk.shell("coordinator releases activate shop 1.0 --yes").returncode == 0, seconds=60)
        worker.send_signal(signal.SIGSTOP)
        cancelled, parked = (
            json.loads(desk.output("coordinator executions submit shop --input 21 --output=json"))["executionId"]
            for _ in range(2)
        )
        desk.output(f"coordinator executions cancel {cancelled} --yes --reason 'no longer needed'")
        assert desk.processes()
        dev.kill()
        dev.wait()
        eventually(lambda: not desk.processes(), seconds=20)
        with desk.coordinator() as continued:
            assert file.read_text() == first
            worker.send_signal(signal.SIGCONT)
            desk.output(f"coordinator executions wait {parked}")
            assert desk.output(f"coordinator executions result {parked}").strip() == "42"
            continued.send_signal(signal.SIGINT)
            assert continued.wait(60) == 0
            eventually(lambda: not desk.processes(), seconds=5)


def test_ports_of_other_programs_and_a_token_that_has_expired_are_replaced(python: Path, folder: Path) -> None:
    desk, file = Desk(python.parent, folder), folder / ".coordinator" / "installation.json"
    with desk.coordinator():
        kept = json.loads(file.read_text())
    file.write_text(json.dumps({**kept, "token": f"dc_{'0' * 64}"}))
    with ExitStack() as others:
        taken = {name: value for name, value in kept.items() if name.endswith("port")}
        for port in taken.values():
            others.enter_context(socket.create_server(("127.0.0.1", port)))
        with desk.coordinator():
            assert not {*taken.values()} & {*json.loads(file.read_text()).values()}
            assert "tenant-admin" in desk.output("coordinator members list")


def test_the_wheels_are_built_and_installed_as_documented(tmp_path: Path) -> None:
    page = (PROJECT / "docs" / "how-to" / "deploy-on-a-host.md").read_text(encoding="utf-8")
    [build] = re.findall(r"^python3 -m pip wheel .*$", page, re.MULTILINE)
    [export] = re.findall(r"^export PIP_FIND_LINKS=.*$", page, re.MULTILINE)
    [install] = re.findall(r"&& /opt/coordinator/bin/(pip install \S+)$", page, re.MULTILINE)
    checkout = tmp_path / "checkout"
    installing.copy_checkout(checkout)
    # Only these two are installed: other tests install the requirements.
    script = f"{build}\n{export}\npython3 -m venv {tmp_path / 'opt'}\n{tmp_path / 'opt'}/bin/{install} --no-deps\n"
    script += f"{tmp_path / 'opt'}/bin/pip install durable-pipelines --no-deps\n"
    path = f"{Path(sys.base_prefix) / 'bin'}:{os.environ['PATH']}"
    output_of(["sh", "-eu", "-c", script], checkout, {**installing.environment(), "PATH": path})
    assert {path.name for path in (tmp_path / "opt" / "bin").iterdir()} >= {"coordinator", "pipelines"}


def test_the_demo_ends_without_a_terminal() -> None:
    """It then prints no address and no password, because nothing listens there any more."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    printed = output_of(["make", "--old-file=setup", "demo"], env=environment, sent="")
    assert "Executions and their releases" in printed
    assert printed.rstrip().splitlines()[-1].startswith("The demo is complete and stopped.")
    assert not re.search("127.0.0.1|password|Press Ctrl-C", printed)


def test_the_demo_continues_with_the_data_that_it_keeps(python: Path, folder: Path) -> None:
    demo: list[str | Path] = [python, "-m", "embedded.demo", "--keep"]
    assert "Activation #2" in installing.run(demo, folder)
    again = installing.run(demo, folder)
    assert not re.search("Activation|127.0.0.1", again)
    assert "worker-1.0 hosts" in again
    assert "worker-2.0 hosts" in again
    assert "`coordinator dev --data .local/demo` continues with it" in again
