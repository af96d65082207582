"""One version of every process of the product, next to other versions on the same servers."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embedded.children import Child
from embedded.product import Product
from tests.building import first_tenant
from tests.parts.recovery.cluster import SETTINGS
from tests.parts.upgrade.front import Front
from tests.parts.upgrade.released import Version
from wire.worker_keys import worker_key

TENANT = "upgrading"
SCOPES = (
    *("read", "payloads:read", "executions:submit", "interactions:complete"),
    *("releases:register", "releases:activate"),
)
EXPECTED = "Execution moved to DLQ"
"""Some jobs of the workload fail permanently, which is logged as an error."""


class FirstRelease(Product):
    """The processes of 0.1.0, which has no `coordinator run`."""

    @property
    def web_command(self) -> list[str]:
        options = [f"--port={self.port}", f"--workers={self.web_processes}", "--blocking-threads=64", "--http=1"]
        return ["granian", "--interface=wsgi", "coordinator.wsgi:application", "--host=127.0.0.1", *options]

    def start_control_worker(self, name: str = "control-worker", *, queues: Sequence[str] = ()) -> Child:
        assert not queues
        options = ["--loglevel=INFO", f"--hostname={name}@%h"]
        return self._start(name, "celery", "-A", "coordinator.celery", "worker", *options)

    def start_clock(self) -> Child:
        options = [f"--schedule={self.folder / 'clock'}", "--pidfile="]
        return self._start("clock", "celery", "-A", "coordinator.celery", "beat", *options)


class Deployment:
    """The web process, control worker, clock and transition worker of one version, which start and stop one by one."""

    def __init__(self, version: Version, folder: Path, servers: Mapping[str, str], shared: Mapping[str, str]) -> None:
        self.version = version
        settings = {**SETTINGS, **shared}
        has_run = (version.project / "coordinator/run.py").exists()
        self.product = (Product if has_run else FirstRelease)(
            folder, servers, settings, web_processes=1, project=version.project, programs=version.programs
        )
        self._running: dict[str, Child] = {}

    def migrate(self) -> None:
        self.product.manage("migrate", "--verbosity=0", DATABASE_URL=self.product.servers["DATABASE_OWNER_URL"])

    def create_tenant(self) -> str:
        """Create the tenant, and return a token for it."""
        return first_tenant(self.product, TENANT, "operator", "correct-horse-battery-staple", SCOPES)

    def start(self, front: Front, release: Path) -> None:
        """Start every process, and put the web process into rotation. The worker hosts `release`.

        The other version may have built the release, in an environment without the tools of the tests.
        """
        name = self.product.folder.name
        self._running["control worker"] = self.product.start_control_worker(f"control-{name}")
        self._running["clock"] = self.product.start_clock()
        self._running["web"] = self.product.start_web()
        self._running["worker"] = self.product.start_worker(
            f"worker-{name}",
            release=release,
            tenant=TENANT,
            key=worker_key(self.product.environment["WORKER_SECRET"], TENANT).text,
            concurrency=4,
            options=["--allow-environment-drift"],
        )
        self.product.wait_until_ready()
        front.add(self.product)

    def stop(self, front: Front) -> None:
        """Stop the processes one after the other, each as an operator does."""
        front.take_out(self.product)
        for name in ("web", "clock", "control worker", "worker"):
            child = self._running.pop(name)
            child.stop(grace=30)
            self.product.children.started.remove(child)

    def errors(self) -> list[str]:
        """Return the lines of the logs that report an error, except failures of steps, which the workload wants."""
        found = []
        for log in sorted((self.product.folder / "logs").glob("*.log")):
            marks = (" ERROR ", " CRITICAL ", *(() if log.name.startswith("worker") else ("Traceback",)))
            for line in log.read_text(encoding="utf-8").splitlines():
                if EXPECTED not in line and any(each in line for each in marks):
                    found.append(f"{self.version.name}: {log.name}: {line}")
        return found

    def built(self, reference: str, source: Path, version: str) -> Path:
        """Build a release with this version's tools, and return the path of its descriptor."""
        out = self.product.folder / "release"
        for command in (["build", reference], ["release", f"--release-version={version}"]):
            subprocess.run(
                [self.version.programs / "python", "-m", "pipelines", *command, f"--out={out}"],
                cwd=source,
                env={"PYTHONPATH": str(self.version.project)},
                check=True,
                capture_output=True,
            )
        return out / "pipeline-release.json"


def shared_settings(product: Product) -> dict[str, Any]:
    """Return the settings that must be the same in every process of an installation."""
    return {name: product.environment[name] for name in ("SECRET_KEY", "WORKER_SECRET", "ARTIFACT_ROOT", "PUBLIC_URL")}
