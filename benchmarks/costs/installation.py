"""The servers on which costs are counted, and the processes that count."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import psycopg
from psycopg import sql

from benchmarks.costs.measuring import VERSION
from benchmarks.costs.servers import SETTINGS as POSTGRES_SETTINGS
from embedded.product import PROJECT, Backing, Product
from wire.worker_keys import worker_key

PIPELINES: Final = PROJECT / "benchmarks" / "pipelines"
SETTINGS: Final = {
    "DJANGO_SETTINGS_MODULE": "coordinator.settings",
    "PUBLIC_URL": "http://127.0.0.1:8000",
    "LOG_LEVEL": "INFO",
    # Longer than the run, so that nothing ends in the middle of it.
    "LEASE_SECONDS": "3600",
    "RETRY_DELAY_SECONDS": "3600",
    "SUBMISSION_CACHE_SECONDS": "3600",
    "WORKER_STALE_SECONDS": "3600",
}
TENANT: Final = "bench"
STARTS: Final = {
    "start of a web process": ["web"],
    "start of a control worker": ["coordinator", "run", "control"],
    "start of the clock": ["coordinator", "run", "clock"],
    # From source, because a worker that hosts an artifact refuses the module that counts.
    "start of a transition worker": ["pipelines", "worker", "--release={release}", "--from-source=one_step:pipeline"],
}


class CountingError(Exception):
    """A process that counts has failed."""


@dataclass(frozen=True, slots=True)
class Installation:
    """A migrated database and a broker, and the environment of processes of the product that use them."""

    folder: Path
    environment: Mapping[str, str]

    def count(self, parts: Sequence[str]) -> dict[str, dict[str, int]]:
        """Count the kinds of work whose names contain one of `parts`, by default all. Raises `CountingError`."""
        built = self.folder / "built"
        figures: dict[str, dict[str, int]] = self.run("measure", str(built), *parts)
        release = built / "one_step" / "1" / "pipeline-release.json"
        for name, command in STARTS.items():
            if not parts or any(part in name for part in parts):
                words = (word.format(release=release) for word in command)
                figures[f"{name}, modules in Python {VERSION}"] = self.run("start", *words)
        return figures

    def run(self, module: str, *arguments: str) -> Any:
        """Run a module of this package. Return the JSON document that it prints. Raises `CountingError`."""
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.costs.{module}", *arguments],
            cwd=PIPELINES,
            env=_worker_environment(self.environment) if "pipelines" in arguments else dict(self.environment),
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise CountingError(f"{module} {' '.join(arguments)} failed:\n{done.stderr}")
        return json.loads(done.stdout.splitlines()[-1])  # Celery prints a banner before


def _worker_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a transition worker. It connects as the coordinator, so it needs no other user."""
    return {
        **{name: environment[name] for name in ("PATH", "PYTHONPATH")},
        "PIPELINES_TENANT": TENANT,
        "PIPELINES_BROKER_URL": environment["REDIS_URL"],
        "PIPELINES_WORKER_KEY": worker_key(environment["WORKER_SECRET"], TENANT).text,
    }


@contextmanager
def installation() -> Iterator[Installation]:
    """Start servers for this run, and migrate the database. Everything is removed at the end."""
    with TemporaryDirectory(prefix="coordinator-costs-") as name:
        folder = Path(name)
        with Backing(folder / "servers", durable=False, outside={}) as backing:
            if backing.postgres is None or backing.valkey is None:
                raise CountingError("Costs are counted with servers of this run only.")
            superuser = backing.postgres.superuser_url()
            with psycopg.connect(superuser, autocommit=True) as connection:
                for setting, value in POSTGRES_SETTINGS.items():
                    connection.execute(
                        sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(*setting.split(".")), value)
                    )
            backing.postgres.stop()
            backing.postgres.start()
            settings = {**SETTINGS, "COSTS_DATABASE_URL": superuser, "COSTS_REDIS_URL": backing.valkey.owner_url}
            product = Product(folder / "product", backing.environment(), settings)
            product.manage("migrate", "--verbosity=0", DATABASE_URL=product.servers["DATABASE_OWNER_URL"])
            try:
                yield Installation(folder, product.environment)
            finally:
                backing.postgres.remove()
