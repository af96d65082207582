"""The demo: starts everything on this machine, and switches a pipeline to another release while executions run.

`python -m embedded.demo`. It uses the REST API and workers, as an installation does.
"""

import json
import shutil
import signal
import sys
import time
from argparse import ArgumentParser
from contextlib import ExitStack
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
from embedded.client import Client, DemoError
from embedded.installation import Installation, InstallationError
from embedded.product import PROJECT, Backing
from pipelines.release.descriptor import release
from pipelines.release.packaging import build

EXAMPLES = Path(__file__).with_name("examples")
if not EXAMPLES.is_dir():  # a checkout, not an installed wheel
    EXAMPLES = PROJECT / "examples"
PAYMENTS = EXAMPLES / "payments" / "data" / "payments.csv"
PIPELINE = "examples.payments"
TENANT = "acme"
USER = "demo"
DATA = Path(".local", "demo")
"""Where the data stays with `--keep`. `coordinator dev --data` continues with it, too."""
ENVIRONMENT = Path(".local", "demo.env")
"""What commands and workers need to connect. The file exists while the demo waits for Ctrl-C."""


@dataclass(frozen=True)
class Built:
    """A release on disk, as `pipelines build` and `pipelines release` write it."""

    version: str
    descriptor: Path
    artifact: Path


class Demo:
    """The steps of the demo. Each raises one of the errors that `main` names."""

    def __init__(self, console: Console, running: ExitStack, *, keep: bool) -> None:
        """`running` ends what the demo starts. With `keep`, the data stays in DATA."""
        self.console = console
        self.running = running
        self.stays = sys.stdin.isatty()
        self._started = time.monotonic()
        folder = DATA if keep else Path(running.enter_context(TemporaryDirectory(prefix="coordinator-demo-")))
        backing = None if keep else Backing()
        self.installation = running.enter_context(Installation(folder, tenant=TENANT, user=USER, backing=backing))
        self.folder = self.installation.folder
        self.author = self.folder / "author"
        self.product = self.installation.product

    def say(self, text: str) -> None:
        self.console.print(f"[dim]{time.monotonic() - self._started:5.1f} s[/]  {text}")

    def set_up(self) -> tuple[Built, Child]:
        """Start the servers, the product, and a worker for the first release. Create a user, a tenant and a token.

        A part begins when those that it needs have ended, so most of them overlap.
        """
        shutil.copytree(
            EXAMPLES, self.author / "examples", ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
        )
        sys.path.insert(0, str(self.author))
        with self.installation.starting(self.console.status):
            self.say("PostgreSQL and Valkey run, and the tables exist")
            built = self.build("1.0", "examples.payments.pipeline:pipeline")
        worker = self.start_worker(built.version, built.descriptor)
        self.await_product()
        self.await_worker(built.version)
        return built, worker

    @property
    def client(self) -> Client:
        return Client(self.product.url, TENANT, self.installation.kept.token)

    def await_product(self) -> None:
        with self.console.status("Starting the web process, the control worker and the clock"):
            self.installation.wait_until_ready()
        where = f" at {self.product.url}" if self.stays else ""
        self.say(f"The web process, control worker and clock run{where}")

    def build(self, version: str, reference: str) -> Built:
        out = self.folder / f"v{version}"
        built = build(reference, out)
        written = release(out, [built.path], release_version=version)
        steps = " → ".join(step["authoredName"] for step in built.contract["steps"])
        self.say(f"Built release [b]{version}[/]: {steps}")
        return Built(version, written.path, built.path)

    def start_worker(self, version: str, descriptor: Path) -> Child:
        key = self.installation.kept.worker_key
        return self.product.start_worker(f"worker-{version}", release=descriptor, tenant=TENANT, key=key)

    def await_worker(self, version: str) -> None:
        """Return when the worker of a release has registered."""
        name = f"worker-{version}"
        with self.console.status(f"Starting {name}"):
            self.client.wait_for_worker(name)
        self.say(f"{name} hosts release {version}: it runs the artifact whose digest the release pins")

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
        """Run all steps, or continue with the data of an earlier run in which they have succeeded."""
        complete = self.folder / "complete"
        if complete.exists():
            self.resume()
            return
        if self.installation.kept.token:
            raise DemoError(f"An earlier demo was stopped before its end. Remove {self.folder} to begin again.")
        first, worker = self.set_up()
        self.register(first)
        self.activate(first, "first release")
        done = self.client.finished(self.submit("payments-monday")["executionId"])
        self.say("The first execution has succeeded:")
        self.show_settlement(self.client.result(done["executionId"]))
        self.switch(worker, done)
        complete.touch()

    def resume(self) -> None:
        """Start everything, with a worker for each release of the earlier run."""
        with self.installation.starting(self.console.status):
            self.say(f"Continues with the data in {self.folder}")
        descriptors = [*self.folder.glob("v*/**/pipeline-release.json")]
        releases = {json.loads(file.read_text(encoding="utf-8"))["releaseVersion"]: file for file in descriptors}
        for version, descriptor in releases.items():
            self.start_worker(version, descriptor)
        self.await_product()
        for version in releases:
            self.await_worker(version)

    def switch(self, worker: Child, earlier: dict[str, Any]) -> None:
        """Activate a second release while an execution of the first one is running."""
        second = self.build("2.0", "examples.payments_v2.pipeline:pipeline")
        self.start_worker(second.version, second.descriptor)
        self.await_worker(second.version)
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
            finished = self.client.finished(execution["executionId"])
            pinned, ran = finished["pin"]["releaseVersion"], self.client.worker_of(finished["executionId"])
            if ran != f"worker-{pinned}" or pinned != execution["pin"]["releaseVersion"]:
                raise DemoError(f"Execution {finished['executionId']} is pinned to {pinned} but was run by {ran}.")
            rejected = str(len(self.client.result(finished["executionId"])["rejected"]))
            table.add_row(finished["executionId"], finished["idempotencyKey"], pinned, ran, rejected)
        self.console.print(table)

    def stay(self) -> None:
        """Print how to log in, and keep everything running until Ctrl-C."""
        url, kept = self.product.url, self.installation.kept
        self.console.print(f"\nAdmin: [b]{url}/admin/[/]  user [b]{kept.user}[/]  password [b]{kept.password}[/]")
        self.console.print(f"OpenAPI document: {url}/api/schema/")
        self.console.print(f"Metrics: [b]curl -H 'Authorization: Bearer {kept.metrics_token}' {url}/metrics[/]")
        self.running.callback(ENVIRONMENT.unlink, missing_ok=True)
        self.installation.write_environment(ENVIRONMENT)
        self.console.print(f"To run your own workers and requests in another terminal: [b]source {ENVIRONMENT}[/]")
        self.console.print("Press Ctrl-C to stop everything.")
        while True:
            time.sleep(1)
            self.installation.require_running()


def main() -> int:
    """Run the demo. Return 0 if all steps succeeded, also if Ctrl-C ends it after that."""
    parser = ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help=f"keep the data in {DATA}, and continue with it next time")
    keep = parser.parse_args().keep
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    done = False
    try:
        with ExitStack() as running:
            demo = Demo(console, running, keep=keep)
            demo.run()
            done = True
            if demo.stays:
                demo.stay()
        console.print("The demo is complete and stopped. On a terminal, it runs until Ctrl-C, so that you can log in.")
        if keep:
            console.print(f"Its data is in {DATA}. `coordinator dev --data {DATA}` continues with it, too.")
    except (DemoError, InstallationError, ChildError, ClientError) as error:
        console.print(f"[red]The demo failed:[/] {escape(str(error))}")
        return 1
    except KeyboardInterrupt:
        console.print("\nStopped." if done else "\nStopped before the demo was complete.")
        return 0 if done else 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
