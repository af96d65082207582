"""The product's processes as child processes on one machine, for the demo and the tests."""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from coordinator_client.errors import Unreachable
from coordinator_client.http import opened
from embedded.children import Child, ChildError, Children, free_port
from embedded.valkey import worker_url

PROJECT = Path(__file__).resolve().parents[1]
"""The folder of the product's packages: the checkout, or `site-packages` if the wheel is installed."""
BIN = Path(sys.executable).parent
STARTUP_SECONDS = 60.0


class Product:
    """The web process, control worker and clock on existing servers, and transition workers.

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
        project: Path = PROJECT,
        programs: Path = BIN,
    ) -> None:
        self.folder = folder
        self.servers = dict(servers)
        self.settings = dict(settings or {})
        self.web_processes = web_processes
        self.project = project
        self.programs = programs
        self.port = free_port()
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
        self.manage("migrate", "--verbosity=0", DATABASE_URL=self.servers["DATABASE_OWNER_URL"])
        self.collect_static_files()

    def collect_static_files(self) -> None:
        self.manage("collectstatic", "--noinput", "--verbosity=0")

    def start(self) -> None:
        """Start the control worker, the clock and the web process. Return when the web process is ready."""
        self.start_control_worker()
        self.start_clock()
        self.start_web()
        self.wait_until_ready()

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
        self, name: str, *, release: Path, tenant: str, key: str, concurrency: int = 2, options: Sequence[str] = ()
    ) -> Child:
        """Start a transition worker that hosts the artifact next to the descriptor `release`.

        It gets the broker user and the worker key of its tenant, and no other secret of the product.
        """
        environment = {
            name: value
            for name, value in self.environment.items()
            if name in {"PATH", "HOME", "LANG", "PYTHONUNBUFFERED"}
        }
        environment |= {
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
