"""`python -m pipelines publish` straight to S3, over a connection that breaks, with a control worker that dies."""

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

REPOSITORY = Path(__file__).resolve().parents[2]
SIZE = DIRECT_BYTES + 1


@dataclass
class Way:
    """A TCP proxy to the store; it cuts off each of the next `breaks` connections after a mebibyte."""

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
def way_to(host: str, port: int) -> Iterator[Way]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        way = Way(listener.getsockname()[1])

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=carry, args=(client,), daemon=True).start()

        def carry(client: socket.socket) -> None:
            with client, socket.create_connection((host, port)) as server:
                threading.Thread(target=copy, args=(server, client, float("inf")), daemon=True).start()
                copy(client, server, way.allowance())

        def copy(source: socket.socket, target: socket.socket, left: float) -> None:
            with suppress(OSError):
                while left > 0 and (data := source.recv(65_536)):
                    target.sendall(data)
                    left -= len(data)
            for end in (source, target):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield way
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
def way(s3_place: S3Place) -> Iterator[Way]:
    host, _, port = s3_place.endpoint_url.removeprefix("http://").partition(":")
    with way_to(host, int(port)) as made:
        yield made


@pytest.fixture
def there(
    django_db_setup: None, tmp_path: Path, s3_place: S3Place, way: Way, gathered_static_files: str
) -> Iterator[S3Product]:
    url = f"http://127.0.0.1:{way.port}"
    with s3_product(tmp_path, s3_place, gathered_static_files, S3_PUBLIC_ENDPOINT_URL=url) as made:
        yield made


@pytest.mark.timeout(300)
def test_a_large_file_goes_straight_to_the_store_whatever_breaks(
    there: S3Product, dist: Path, way: Way, s3_place: S3Place
) -> None:
    product = there.product
    target = Target(product.url, TENANT, there.token)
    way.breaks = 2
    told: list[tuple[int, int]] = []

    class Enough(Exception):
        pass

    def stop_halfway(sent: int, total: int) -> None:
        told.append((sent, total))
        if sent > SIZE // 2:
            raise Enough

    with pytest.raises(Enough):
        publish(dist, target, progress=stop_halfway)
    assert way.broken == 2, "it went on after each break"

    # The next process goes on where that one stopped; meanwhile nobody verifies, and then somebody does.
    [worker] = [child for child in product.children.started if child.name == "control-worker"]
    worker.kill()
    product.children.started.remove(worker)
    command = [sys.executable, "-m", "pipelines", "publish", str(dist), f"--url={product.url}", f"--tenant={TENANT}"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "PIPELINES_TOKEN": there.token}
    with subprocess.Popen([*command, "--json"], env=environment, stdout=subprocess.PIPE, text=True) as process:
        eventually(lambda: staged(s3_place) == [], what="all parts to be sent")
        product.start_control_worker("second-worker")
        out, _ = process.communicate(timeout=200)
    release = json.loads(out)["release"]
    assert (process.returncode, release["status"], release["artifacts"][0]["size"]) == (0, "REGISTERED", SIZE)
    assert told[0][0] < 2**20
    digest = release["artifacts"][0]["digest"].removeprefix("sha256:")
    client = client_of(s3_place)
    found = client.list_objects_v2(Bucket=s3_place.bucket, Prefix=s3_place.prefix)["Contents"]
    assert [row["Key"] for row in found] == [f"{s3_place.prefix}/sha256/{digest}"]


def staged(place: S3Place) -> list[int]:
    """The parts that the one upload still lacks, once it has any; it is complete where there is no such upload."""
    client = client_of(place)
    uploads = client.list_multipart_uploads(Bucket=place.bucket, Prefix=place.prefix).get("Uploads", ())
    for upload in uploads:
        parts = client.list_parts(Bucket=place.bucket, Key=upload["Key"], UploadId=upload["UploadId"]).get("Parts", ())
        there = {part["PartNumber"] for part in parts}
        return [number for number in range(1, 8) if number not in there]
    return []
