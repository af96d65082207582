"""The product on one machine, for the demo and the tests: its servers and its processes."""

import atexit
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self, TextIO

from coordinator_client.errors import Unreachable
from coordinator_client.http import opened
from embedded.children import Child, ChildError, Children, free_port
from embedded.postgres import Postgres
from embedded.valkey import Valkey, worker_url


class Backing:
    """A context manager that runs PostgreSQL and Valkey, unless `outside` names other servers.

    `outside` (default: the environment) may hold DATABASE_URL (with DATABASE_OWNER_URL, the role that migrates) and
    REDIS_URL (with REDIS_OWNER_URL, a user that may create users). For each of the two URLs, no local server is
    started. Data and logs are kept in `folder`, by default a temporary folder that is removed when the servers stop.
    `ports` are those of PostgreSQL and Valkey.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        durable: bool = True,
        outside: Mapping[str, str] | None = None,
        ports: tuple[int | None, int | None] = (None, None),
    ) -> None:
        outside = os.environ if outside is None else outside
        self._temporary = folder is None
        self.folder = Path(tempfile.mkdtemp(prefix="durable-coordinator-")) if folder is None else folder.absolute()
        self._named = {
            name: outside[name]
            for name in ("DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL", "REDIS_OWNER_URL")
            if outside.get(name)
        }
        runs_postgres, runs_valkey = "DATABASE_URL" not in self._named, "REDIS_URL" not in self._named
        self.postgres = Postgres(self.folder, port=ports[0], durable=durable) if runs_postgres else None
        self.valkey = Valkey(self.folder, port=ports[1], durable=durable) if runs_valkey else None

    def environment(self) -> dict[str, str]:
        """Return DATABASE_URL, DATABASE_OWNER_URL and REDIS_URL of the local or outside servers.

        Includes REDIS_OWNER_URL, unless `outside` names a Redis server without it.
        """
        variables = dict(self._named)
        if self.postgres is not None:
            variables |= {"DATABASE_URL": self.postgres.url, "DATABASE_OWNER_URL": self.postgres.owner_url}
        if self.valkey is not None:
            variables |= {"REDIS_URL": self.valkey.url, "REDIS_OWNER_URL": self.valkey.owner_url}
        variables.setdefault("DATABASE_OWNER_URL", variables["DATABASE_URL"])
        return variables

    def start(self) -> None:
        """Start the local servers and return when they accept connections. Raises `ChildError`, and then none runs."""
        with ExitStack() as undo:
            undo.callback(self.stop)
            if self.valkey is not None:
                self.valkey.start()
            if self.postgres is not None:
                self.postgres.start()
            undo.pop_all()

    def stop(self) -> None:
        """Stop the local servers, and remove a temporary folder."""
        if self._temporary:
            self.remove()
            return
        for server in filter(None, (self.valkey, self.postgres)):
            server.stop()

    def remove(self) -> None:
        """Stop the local servers, and remove the folder."""
        for server in (self.valkey, self.postgres):
            if server is not None:
                server.remove()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def for_tests() -> None:
    """Start servers for one run of pytest, and put their URLs into `os.environ`, before Django's settings are read.

    Call it at the top of the outermost `conftest.py`. Only the first process of a run starts servers (not durable,
    stopped at its exit); the workers of pytest-xdist inherit the environment. A server that it names is used.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    backing = Backing(durable=False)
    backing.start()
    atexit.register(backing.stop)
    os.environ.update(backing.environment())


PROJECT = Path(__file__).resolve().parents[1]
"""The folder of the product's packages: the checkout, or `site-packages` if the wheel is installed."""
BIN = Path(sys.executable).parent
STARTUP_SECONDS = 60.0


class Preparation:
    """A process that prepares an installation, and may then run it. Raises `ChildError` with its log if it fails."""

    def __init__(self, child: Child, owner_url: TextIO, output: TextIO) -> None:
        self.child = child
        self._owner_url = owner_url
        self._output = output

    def migrate(self, owner_url: str) -> None:
        """Let the process begin: the servers accept connections. Return when other processes can start."""
        with suppress(BrokenPipeError), self._owner_url:  # it has failed, and its log says why
            self._owner_url.write(f"{owner_url}\n")
        self._line("migrated")

    def created(self) -> dict[str, str]:
        """Return the `token` and the `workerKey` that the process has created."""
        created: dict[str, str] = json.loads(self._line("{"))
        return created

    def _line(self, beginning: str) -> str:
        """Return the next line of the output that begins so."""
        for line in self._output:
            if line.startswith(beginning):
                return line
        self.child.wait()
        raise ChildError(f"coordinator prepare failed:\n{self.child.log_tail()}")


class Product:
    """The web process, control worker and clock on existing servers, and workers.

    `servers` contains DATABASE_URL and REDIS_URL. `prepare` also needs DATABASE_OWNER_URL to migrate. With
    REDIS_OWNER_URL, the workers of each tenant get a separate broker user. `settings` are added to the environment of
    every process. Everything else that a process writes is in `folder`.

    `project` contains the product's packages, and `programs` the commands of the environment that runs them. A test may
    name those of another version.
    """

    def __init__(
        self,
        folder: Path,
        servers: Mapping[str, str],
        settings: Mapping[str, str] | None = None,
        *,
        web_processes: int = 2,
        port: int | None = None,
        project: Path = PROJECT,
        programs: Path = BIN,
    ) -> None:
        self.folder = folder
        self.servers = dict(servers)
        self.settings = dict(settings or {})
        self.web_processes = web_processes
        self.project = project
        self.programs = programs
        self.port = port or free_port()
        self.children = Children(folder / "logs")
        self.environment = {
            **{name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "TZ"}},
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(self.project),
            "SECRET_KEY": secrets.token_urlsafe(48),
            "WORKER_SECRET": secrets.token_urlsafe(48),
            "ARTIFACT_ROOT": str(folder / "artifacts"),
            "STATIC_ROOT": str(folder / "static"),
            "HTTPS_ONLY": "false",
            "PUBLIC_URL": self.url,
            "DATABASE_URL": self.servers["DATABASE_URL"],
            "REDIS_URL": self.servers["REDIS_URL"],
            **self.settings,
        }

    @property
    def url(self) -> str:
        """The URL of the web process, without a trailing slash."""
        return f"http://127.0.0.1:{self.port}"

    def manage(self, *arguments: str, **environment: str) -> str:
        """Run a management command and return its output. Raises `ChildError` with the output if it fails."""
        done = subprocess.run(
            [self.programs / "coordinator", *arguments],
            cwd=self.project,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise ChildError(f"coordinator {arguments[0]} failed:\n{done.stdout}{done.stderr}")
        return done.stdout.strip()

    def prepare(self) -> None:
        """Run the migrations as the owner of the database, and collect the static files."""
        with self.preparing() as preparation:
            preparation.migrate(self.servers["DATABASE_OWNER_URL"])

    @contextmanager
    def preparing(self, *options: str, runs: bool = False, **environment: str) -> Iterator[Preparation]:
        """Run `coordinator prepare`, and wait for its end after the block.

        With `runs`, it is `coordinator run all`, which then runs the web process, the control worker and the clock. It
        loads the product while the servers may still start.
        """
        command = ["run", "all", f"--port={self.port}"] if runs else ["prepare"]
        (stdin, owner_url), (output, stdout) = os.pipe(), os.pipe()
        with os.fdopen(owner_url, "w") as owner_url_file, os.fdopen(output) as output_file:
            try:
                child = Child(
                    [self.programs / "coordinator", *command, *options],
                    name="product",
                    log=self.children.logs / "product.log",
                    environment={**self.environment, **environment},
                    directory=self.project,
                    stdin=stdin,
                    stdout=stdout,
                )
            finally:
                os.close(stdin)
                os.close(stdout)
            try:
                yield Preparation(child, owner_url_file, output_file)
            except BaseException:
                child.kill()
                raise
        if runs:
            self.children.started.append(child)
        else:
            child.wait()

    def collect_static_files(self) -> None:
        self.manage("collectstatic", "--noinput", "--verbosity=0")

    def start(self) -> None:
        """Start the control worker, the clock and the web process. Return when the web process is ready."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start the control worker, the clock and the web process, and do not wait for them."""
        self.start_control_worker()
        self.start_clock()
        self.start_web()

    @property
    def web_command(self) -> list[str]:
        options = [f"--port={self.port}", f"--processes={self.web_processes}"]
        return ["coordinator", "run", "web", "--host=127.0.0.1", *options]

    def start_web(self) -> Child:
        return self._start("web", *self.web_command)

    def start_control_worker(self, name: str = "control-worker", *, queues: Sequence[str] = ()) -> Child:
        """Start a control worker for `queues`, by default for all.

        Each one needs a different `name`, which is its node name in Celery.
        """
        options = [f"--queues={','.join(queues)}"] if queues else []
        return self._start(name, "coordinator", "run", "control", f"--name={name}", *options)

    def start_clock(self) -> Child:
        return self._start("clock", "coordinator", "run", "clock")

    def start_worker(
        self,
        name: str,
        *,
        release: Path,
        tenant: str,
        key: str,
        concurrency: int = 2,
        options: Sequence[str] = (),
        config: Mapping[str, str] | None = None,
    ) -> Child:
        """Start a worker that hosts the artifact next to the descriptor `release`.

        It gets the broker user and the worker key of its tenant, and no other secret of the product. `config` has the
        values that its pipeline declares.
        """
        environment = {
            name: value
            for name, value in self.environment.items()
            if name in {"PATH", "HOME", "LANG", "PYTHONUNBUFFERED"}
        }
        environment |= {
            **(config or {}),
            "PYTHONPATH": str(self.project),
            "PIPELINES_TENANT": tenant,
            "PIPELINES_BROKER_URL": self.broker_url(tenant),
            "PIPELINES_BROKER_CA_FILE": self.settings.get("REDIS_CA_FILE", ""),
            "PIPELINES_WORKER_KEY": key,
            "PIPELINES_TRACES_ENDPOINT": self.settings.get("TRACES_ENDPOINT", ""),
            "PIPELINES_LOG_FORMAT": self.settings.get("LOG_FORMAT", "text"),
        }
        command = [str(self.programs / "python"), "-m", "pipelines", "worker", f"--release={release}"]
        command += [f"--worker-id={name}", f"--concurrency={concurrency}", *options]
        return self.children.start(name, command, environment=environment, directory=self.folder)

    def broker_url(self, tenant: str) -> str:
        """Return the broker URL for the workers of `tenant`: the coordinator's own if there is no REDIS_OWNER_URL."""
        owner_url = self.servers.get("REDIS_OWNER_URL")
        broker_url = self.servers["REDIS_URL"]
        return worker_url(owner_url, tenant, broker_url) if owner_url else broker_url

    def wait_until_ready(self) -> None:
        """Return when the web process is ready. Raises `ChildError` if a process ends, or after STARTUP_SECONDS."""
        deadline = time.monotonic() + STARTUP_SECONDS
        while time.monotonic() < deadline:
            self.children.require_running()
            try:
                with opened("GET", f"{self.url}/health/ready", headers={}, seconds=5) as response:
                    if response.status == 200:
                        return
            except Unreachable:
                time.sleep(0.05)
        raise ChildError("The web process is not ready:\n" + self.children.started[-1].log_tail())

    def stop(self) -> None:
        self.children.stop()

    def _start(self, name: str, command: str, *arguments: str) -> Child:
        return self.children.start(
            name, [self.programs / command, *arguments], environment=self.environment, directory=self.project
        )
