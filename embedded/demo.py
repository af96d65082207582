"""The demo: starts everything on this machine, and switches a pipeline to another release while executions run.

`python -m embedded.demo`. It uses the REST API and transition workers, as an installation does.
"""

import secrets
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from coordinator_client.errors import ClientError
from embedded.children import Child, ChildError
from embedded.product import PROJECT, Backing, Client, DemoError, Product
from pipelines.release import signing_key
from pipelines.release.descriptor import release
from pipelines.release.packaging import build

EXAMPLES = Path(__file__).with_name("examples")
if not EXAMPLES.is_dir():  # a checkout, not an installed wheel
    EXAMPLES = PROJECT / "examples"
PAYMENTS = EXAMPLES / "payments" / "data" / "payments.csv"
PIPELINE = "examples.payments"
TENANT = "acme"
USER = "demo"
ENVIRONMENT = Path(".local", "demo.env")
"""What a worker and curl need to connect. The file exists while the demo waits for Ctrl-C."""


@dataclass(frozen=True)
class Built:
    """A release on disk, as `pipelines build` and `pipelines release` write it."""

    version: str
    descriptor: Path
    artifact: Path


class Demo:
    """The steps of the demo. Each raises `DemoError`, `ChildError` or `ClientError` if it fails."""

    def __init__(self, console: Console, running: ExitStack, started: float) -> None:
        """`running` ends what the demo starts."""
        self.console = console
        self.running = running
        self.folder = folder = Path(running.enter_context(TemporaryDirectory(prefix="coordinator-demo-")))
        self.backing = Backing()
        self.author = folder / "author"
        key = signing_key.make(folder / "provenance.pem")
        self.metrics_token = secrets.token_urlsafe(24)
        settings = {"PROVENANCE_KEY_FILE": str(key.private), "METRICS_TOKEN": self.metrics_token}
        self.product = Product(folder, self.backing.environment(), settings, web_processes=1)
        self.password = secrets.token_urlsafe(12)
        self.token = ""
        self.worker_key = ""
        self._started = started

    def say(self, text: str) -> None:
        self.console.print(f"[dim]{time.monotonic() - self._started:5.1f} s[/]  {text}")

    def set_up(self) -> tuple[Built, Child]:
        """Start the servers, the product, and a worker for the first release. Create a user, a tenant and a token.

        A part begins when those that it needs have ended, so most of them overlap.
        """
        shutil.copytree(EXAMPLES, self.author / "examples", ignore=shutil.ignore_patterns("__pycache__"))
        sys.path.insert(0, str(self.author))
        options = [f"--tenant={TENANT}", f"--user={USER}"]
        with self.product.preparing(*options, runs=True, DJANGO_SUPERUSER_PASSWORD=self.password) as preparation:
            with self.console.status("Starting PostgreSQL and Valkey"):
                self.running.enter_context(self.backing)
            self.say("PostgreSQL and Valkey run")
            self.running.enter_context(self.product.children)
            with self.console.status("Creating the tables"):
                preparation.migrate(self.backing.environment()["DATABASE_OWNER_URL"])
            built = self.build("1.0", "examples.payments.pipeline:pipeline")
            with self.console.status("Creating a user, a tenant, a token and a worker key"):
                created = preparation.created()
        self.token, self.worker_key = created["token"], created["workerKey"]
        worker = self.start_worker(built)
        with self.console.status("Starting the web process, the control worker and the clock"):
            self.product.wait_until_ready()
        self.say(f"The web process, control worker and clock run at {self.product.url}")
        self.await_worker(built)
        return built, worker

    @property
    def client(self) -> Client:
        return Client(self.product.url, TENANT, self.token)

    def build(self, version: str, reference: str) -> Built:
        out = self.folder / f"v{version}"
        built = build(reference, out)
        written = release(out, [built.path], release_version=version)
        steps = " → ".join(step["authoredName"] for step in built.contract["steps"])
        self.say(f"Built release [b]{version}[/]: {steps}")
        return Built(version, written.path, built.path)

    def start_worker(self, built: Built) -> Child:
        name = f"worker-{built.version}"
        return self.product.start_worker(name, release=built.descriptor, tenant=TENANT, key=self.worker_key)

    def await_worker(self, built: Built) -> None:
        """Return when the worker of a release has registered."""
        name = f"worker-{built.version}"
        with self.console.status(f"Starting {name}"):
            self.client.wait_for_worker(name)
        self.say(f"{name} hosts release {built.version}: it runs the artifact whose digest the release pins")

    def register(self, built: Built) -> None:
        with self.console.status(f"Uploading release {built.version}"):
            self.client.upload(PIPELINE, built.descriptor, built.artifact)
            verified = self.client.verified(PIPELINE, built.version)
        if verified["status"] != "REGISTERED":
            raise DemoError(f"Release {built.version} was rejected: {verified['findings']}")
        self.say(f"Uploaded release {built.version}. Verification passed: REGISTERED")

    def activate(self, built: Built, reason: str) -> None:
        event = self.client.activate(PIPELINE, built.version, reason)
        self.say(f"Activation #{event['sequence']}: new executions get release [b]{built.version}[/]")

    def submit(self, key: str) -> dict[str, Any]:
        value = {"name": PAYMENTS.name, "content": PAYMENTS.read_text(encoding="utf-8")}
        accepted = self.client.submit(PIPELINE, value, key)
        self.say(
            f"Submitted {PAYMENTS.name}: the execution is pinned to release [b]{accepted['pin']['releaseVersion']}[/]"
        )
        return accepted

    def show_settlement(self, result: dict[str, Any]) -> None:
        table = Table(title=f"Settlement of {PAYMENTS.name}", title_justify="left")
        table.add_column("currency")
        table.add_column("payments", justify="right")
        table.add_column("total", justify="right")
        for total in result["totals"]:
            table.add_row(total["currency"], str(total["count"]), f"{Decimal(total['total']):,}")
        self.console.print(table)
        rejected = Table(title=f"{len(result['rejected'])} rejected rows", title_justify="left")
        rejected.add_column("line", justify="right")
        rejected.add_column("reference")
        rejected.add_column("reasons")
        for row in result["rejected"]:
            rejected.add_row(str(row["line"]), row["reference"], "; ".join(row["reasons"]))
        self.console.print(rejected)

    def run(self) -> None:
        first, worker = self.set_up()
        self.register(first)
        self.activate(first, "first release")
        done = self.client.finished(self.submit("payments-monday")["executionId"])
        self.say("The first execution has succeeded:")
        self.show_settlement(self.client.result(done["executionId"]))
        self.switch(worker, done)

    def switch(self, worker: Child, earlier: dict[str, Any]) -> None:
        """Activate a second release while an execution of the first one is running."""
        second = self.build("2.0", "examples.payments_v2.pipeline:pipeline")
        self.start_worker(second)
        self.await_worker(second)
        self.register(second)
        worker.send(signal.SIGSTOP)
        self.say("Paused worker-1.0, so that an execution of release 1.0 is still in progress after the switch")
        in_flight = self.submit("payments-tuesday")
        self.activate(second, "screens creditors")
        later = self.submit("payments-wednesday")
        with self.console.status("Waiting for the execution of release 2.0"):
            self.client.finished(later["executionId"])
        status = self.client.execution(in_flight["executionId"])["status"]
        if status == "SUCCEEDED":
            raise DemoError("The execution of release 1.0 has ended although its worker is paused.")
        worker.send(signal.SIGCONT)
        self.say(f"The execution of release 1.0 is {status} and still pinned to it. Resumed worker-1.0")
        with self.console.status("Waiting for the execution of release 1.0"):
            self.client.finished(in_flight["executionId"])
        self.show_releases([earlier, in_flight, later])

    def show_releases(self, executions: list[dict[str, Any]]) -> None:
        table = Table(title="Executions and their releases", title_justify="left")
        for column in ("execution", "submitted as", "pinned to", "run by", "rejected rows"):
            table.add_column(column)
        for execution in executions:
            found = self.client.finished(execution["executionId"])
            pinned, ran = found["pin"]["releaseVersion"], self.client.worker_of(found["executionId"])
            if ran != f"worker-{pinned}" or pinned != execution["pin"]["releaseVersion"]:
                raise DemoError(f"Execution {found['executionId']} is pinned to {pinned} but was run by {ran}.")
            rejected = str(len(self.client.result(found["executionId"])["rejected"]))
            table.add_row(found["executionId"], found["idempotencyKey"], pinned, ran, rejected)
        self.console.print(table)

    def stay(self) -> None:
        """Print how to log in, and keep everything running until Ctrl-C."""
        self.console.print(
            f"\nAdmin: [b]{self.product.url}/admin/[/]  user [b]{USER}[/]  password [b]{self.password}[/]"
        )
        self.console.print(f"OpenAPI document: {self.product.url}/api/schema/")
        self.console.print(
            f"Metrics: [b]curl -H 'Authorization: Bearer {self.metrics_token}' {self.product.url}/metrics[/]"
        )
        with self.environment_file():
            self.console.print(f"To run your own workers and requests in another terminal: [b]source {ENVIRONMENT}[/]")
            self.console.print("Press Ctrl-C to stop everything.")
            while True:
                time.sleep(1)
                self.product.children.require_running()

    @contextmanager
    def environment_file(self) -> Iterator[None]:
        """Write ENVIRONMENT, readable only by the current user, and remove it at the end of the block."""
        ENVIRONMENT.parent.mkdir(exist_ok=True)
        ENVIRONMENT.unlink(missing_ok=True)
        ENVIRONMENT.touch(mode=0o600)
        variables = {
            "COORDINATOR_URL": self.product.url,
            "COORDINATOR_TOKEN": self.token,
            "PIPELINES_TENANT": TENANT,
            "PIPELINES_BROKER_URL": self.product.broker_url(TENANT),
            "PIPELINES_WORKER_KEY": self.worker_key,
        }
        ENVIRONMENT.write_text("".join(f"export {name}='{value}'\n" for name, value in variables.items()))
        try:
            yield
        finally:
            ENVIRONMENT.unlink(missing_ok=True)


def main() -> int:
    """Run the demo. Return 0 if all steps succeeded, also if Ctrl-C ends it after that."""
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    done = False
    try:
        with ExitStack() as running:
            started = time.monotonic()
            demo = Demo(console, running, started)
            demo.run()
            done = True
            if sys.stdin.isatty():
                demo.stay()
        console.print("The demo is complete and stopped. On a terminal, it runs until Ctrl-C, so that you can log in.")
    except (DemoError, ChildError, ClientError) as error:
        console.print(f"[red]The demo failed:[/] {escape(str(error))}")
        return 1
    except KeyboardInterrupt:
        console.print("\nStopped." if done else "\nStopped before the demo was complete.")
        return 0 if done else 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
