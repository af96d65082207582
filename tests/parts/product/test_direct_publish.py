"""`python -m pipelines publish` directly to S3, over a failing connection, with a control worker that is killed."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipelines.release.direct_upload import DIRECT_BYTES
from pipelines.release.publish import Target, publish
from tests import making
from tests.building import eventually
from tests.s3 import S3Place, client_of
from tests.s3_product import TENANT, S3Product, s3_product

REPOSITORY = Path(__file__).resolve().parents[3]
SIZE = DIRECT_BYTES + 1


@dataclass
class BreakingProxy:
    """A TCP proxy to the store. It closes each of the next `breaks` connections after a mebibyte."""

    port: int
    breaks: int = 0
    broken: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def allowance(self) -> float:
        with self.lock:
            if self.broken >= self.breaks:
                return float("inf")
            self.broken += 1
            return 2**20


@contextmanager
def breaking_proxy(host: str, port: int) -> Iterator[BreakingProxy]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = BreakingProxy(listener.getsockname()[1])

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=forward, args=(client,), daemon=True).start()

        def forward(client: socket.socket) -> None:
            with client, socket.create_connection((host, port)) as server:
                threading.Thread(target=copy, args=(server, client, float("inf")), daemon=True).start()
                copy(client, server, proxy.allowance())

        def copy(source: socket.socket, target: socket.socket, remaining: float) -> None:
            with suppress(OSError):
                while remaining > 0 and (data := source.recv(65_536)):
                    target.sendall(data)
                    remaining -= len(data)
            for end in (source, target):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield proxy
        finally:
            listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    folder = tmp_path / "dist"
    folder.mkdir()
    data = os.urandom(SIZE)
    document: dict[str, Any] = making.descriptor(making.contract(), data, kind="native-binary")
    (folder / "app.zip").write_bytes(data)
    (folder / "pipeline-release.json").write_text(json.dumps(document))
    return folder


@pytest.fixture
def proxy(s3_place: S3Place) -> Iterator[BreakingProxy]:
    host, _, port = s3_place.endpoint_url.removeprefix("http://").partition(":")
    with breaking_proxy(host, int(port)) as running:
        yield running


@pytest.fixture
def running_product(
    django_db_setup: None, tmp_path: Path, s3_place: S3Place, proxy: BreakingProxy, gathered_static_files: str
) -> Iterator[S3Product]:
    url = f"http://127.0.0.1:{proxy.port}"
    with s3_product(tmp_path, s3_place, gathered_static_files, S3_PUBLIC_ENDPOINT_URL=url) as running:
        yield running


@pytest.mark.timeout(300)
def test_a_large_file_is_uploaded_to_the_store_despite_failures(
    running_product: S3Product, dist: Path, proxy: BreakingProxy, s3_place: S3Place
) -> None:
    product = running_product.product
    target = Target(product.url, TENANT, running_product.token)
    proxy.breaks = 2
    reports: list[tuple[int, int]] = []

    class StoppedHalfway(Exception):
        pass

    def stop_halfway(sent: int, total: int) -> None:
        reports.append((sent, total))
        if sent > SIZE // 2:
            raise StoppedHalfway

    with pytest.raises(StoppedHalfway):
        publish(dist, target, progress=stop_halfway)
    assert proxy.broken == 2, "the upload must continue after each broken connection"

    # The next process resumes the upload. The release is verified only once a control worker runs again.
    [worker] = [child for child in product.children.started if child.name == "control-worker"]
    worker.kill()
    product.children.started.remove(worker)
    command = [sys.executable, "-m", "pipelines", "publish", str(dist), f"--url={product.url}", f"--tenant={TENANT}"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "PIPELINES_TOKEN": running_product.token}
    with subprocess.Popen([*command, "--json"], env=environment, stdout=subprocess.PIPE, text=True) as process:
        eventually(lambda: missing_parts(s3_place) == [], what="all parts to be sent")
        product.start_control_worker("second-worker")
        out, _ = process.communicate(timeout=200)
    release = json.loads(out)["release"]
    assert (process.returncode, release["status"], release["artifacts"][0]["size"]) == (0, "REGISTERED", SIZE)
    assert reports[0][0] < 2**20
    digest = release["artifacts"][0]["digest"].removeprefix("sha256:")
    client = client_of(s3_place)
    found = client.list_objects_v2(Bucket=s3_place.bucket, Prefix=s3_place.prefix)["Contents"]
    assert [row["Key"] for row in found] == [f"{s3_place.prefix}/sha256/{digest}"]


def missing_parts(place: S3Place) -> list[int]:
    """Return the numbers of the parts that the unfinished upload lacks, or an empty list without such an upload."""
    client = client_of(place)
    uploads = client.list_multipart_uploads(Bucket=place.bucket, Prefix=place.prefix).get("Uploads", ())
    for upload in uploads:
        parts = client.list_parts(Bucket=place.bucket, Key=upload["Key"], UploadId=upload["UploadId"]).get("Parts", ())
        stored = {part["PartNumber"] for part in parts}
        return [number for number in range(1, 8) if number not in stored]
    return []
