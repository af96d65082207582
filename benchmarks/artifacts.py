"""Measures the duration and memory of registering an artifact, next to sha256sum and cp in the same run.

The artifact is sent over HTTP to the web process. With an S3 store, another one is sent directly to the store.

    python benchmarks/artifacts.py [--mebibytes 1024] [--store local|s3]

All processes run on this machine, so that only the ratios of the rates are meaningful.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from coordinator_client.api import Client, Connection
from embedded.product import Backing, Product
from embedded.s3 import S3Server
from pipelines.release.publish import publish

MEBIBYTE = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mebibytes", type=int, default=1024)
    parser.add_argument("--store", choices=("local", "s3"), default="local")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-artifacts-") as name, ExitStack() as stack:
        folder = Path(name)
        dist = make_release(folder / "dist", options.mebibytes)
        settings = {}
        if options.store == "s3":
            settings = stack.enter_context(S3Server(folder / "s3-server")).environment()
        servers = stack.enter_context(Backing(folder / "servers", outside={})).environment()
        product = Product(folder / "product", servers, settings)
        product.prepare()
        stack.callback(product.stop)
        product.start()
        client = Client(Connection(product.url, "bench", token_of(product)))
        artifact = dist / "large.bin"
        rows = [
            ("sha256sum", seconds(lambda: run("sha256sum", str(artifact)))),
            ("cp", seconds(lambda: run("cp", str(artifact), str(folder / "copy")))),
        ]
        memories = [(f"idle, {child.name}", memory(child.pid)) for child in product.children.started]
        routes = [("over HTTP", sys.maxsize), *([("directly to S3", 0)] if options.store == "s3" else [])]
        for route, direct_bytes in routes:
            # New bytes each time, so that the store has none of them.
            fresh = make_release(folder / route, options.mebibytes)
            durations, peaks = registered(fresh, product, client, direct_bytes)
            rows += [(f"{route}: sent", durations[0]), (f"{route}: registered", durations[1])]
            memories += [(f"{route}, {name}", kibibytes) for name, kibibytes in peaks.items()]
        report(options.mebibytes, rows)
        for name, kibibytes in memories:
            print(f"{name:<30} {kibibytes / 1024:7.1f} MiB")


def registered(
    dist: Path, product: Product, client: Client, direct_bytes: int
) -> tuple[tuple[float, float], dict[str, int]]:
    """Return the seconds until all was sent and until the release was registered, and each process's peak in KiB."""
    size = (dist / "large.bin").stat().st_size
    sent: list[float] = []

    def progress(done: int, total: int) -> None:
        if done == total and total >= size and not sent:
            sent.append(time.monotonic())

    peaks = Peaks({child.name: child.pid for child in product.children.started})
    with peaks:
        began = time.monotonic()
        release = publish(dist, client, progress=progress, direct_bytes=direct_bytes)
        total_seconds = time.monotonic() - began
    if release["status"] != "REGISTERED":
        sys.exit(f"not registered: {release['findings']}")
    return (sent[0] - began, total_seconds), peaks.found


def make_release(dist: Path, mebibytes: int) -> Path:
    """Write a release with one file of random bytes, which is not an archive, and return its folder."""
    dist.mkdir(parents=True)
    digest = hashlib.sha256()
    with (dist / "large.bin").open("wb") as file:
        for _ in range(mebibytes):
            chunk = os.urandom(MEBIBYTE)
            digest.update(chunk)
            file.write(chunk)
    artifact = {
        "artifactId": "large",
        "kind": "native-binary",
        "uri": "large.bin",
        "digest": f"sha256:{digest.hexdigest()}",
    }
    document = {
        "schemaVersion": 1,
        "pipelineId": "bench.large",
        "contractVersion": "1",
        "releaseVersion": digest.hexdigest(),
        "artifacts": [artifact],
    }
    (dist / "pipeline-release.json").write_text(json.dumps(document))
    return dist


def token_of(product: Product) -> str:
    person = ["--username=bench", "--email=bench@example.org", "--noinput"]
    product.manage("createsuperuser", *person, DJANGO_SUPERUSER_PASSWORD="correct-horse-battery-staple")
    product.manage("create_tenant", "bench", "--member=bench")
    scopes = ("--scope=read", "--scope=releases:register")
    return product.manage("issue_token", "bench", "bench", "--user=bench", *scopes)


class Peaks:
    """Measures the peak memory of each process with its descendants during the block, in KiB."""

    def __init__(self, processes: dict[str, int]) -> None:
        self.found = dict.fromkeys(processes, 0)
        self._processes = processes
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            for name, pid in self._processes.items():
                self.found[name] = max(self.found[name], memory(pid))


def memory(pid: int) -> int:
    """Return the resident memory of a process and its descendants in KiB."""
    total, pending = 0, [pid]
    while pending:
        release = pending.pop()
        try:
            status = Path(f"/proc/{release}/status").read_text()
            children = Path(f"/proc/{release}/task/{release}/children").read_text()
        except OSError:  # it has ended
            continue
        total += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
        pending += [int(child) for child in children.split()]
    return total


def seconds(call: Callable[[], None]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def report(mebibytes: int, rows: list[tuple[str, float]]) -> None:
    base = rows[0][1]
    for name, taken in rows:
        print(f"{name:<30} {taken:7.2f} s  {mebibytes / taken:8.1f} MiB/s  {taken / base:5.2f} × sha256sum")


if __name__ == "__main__":
    main()
