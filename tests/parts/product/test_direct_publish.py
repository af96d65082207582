"""`python -m pipelines publish` directly to S3: it is interrupted and continues, without a control worker at first."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from embedded.product import PROJECT
from pipelines.release.direct_upload import DIRECT_BYTES
from pipelines.release.publish import Target, publish
from tests import making
from tests.building import eventually
from tests.s3 import S3Place, client_of
from tests.s3_product import TENANT, S3Product, s3_product

SIZE = DIRECT_BYTES + 1


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
def running_product(
    django_db_setup: None, tmp_path: Path, s3_place: S3Place, gathered_static_files: str
) -> Iterator[S3Product]:
    with s3_product(tmp_path, s3_place, gathered_static_files) as running:
        yield running


@pytest.mark.timeout(300)
def test_an_interrupted_upload_to_the_store_continues_where_it_stopped(
    running_product: S3Product, dist: Path, s3_place: S3Place
) -> None:
    product = running_product.product
    target = Target(product.url, TENANT, running_product.token)
    reports: list[tuple[int, int]] = []

    class StoppedHalfway(Exception):
        pass

    def stop_halfway(sent: int, total: int) -> None:
        reports.append((sent, total))
        if sent > SIZE // 2:
            raise StoppedHalfway

    with pytest.raises(StoppedHalfway):
        publish(dist, target, progress=stop_halfway)

    # The next process resumes the upload. The release is verified only once a control worker runs again.
    [worker] = [child for child in product.children.started if child.name == "control-worker"]
    worker.kill()
    product.children.started.remove(worker)
    command = [sys.executable, "-m", "pipelines", "publish", str(dist), f"--url={product.url}", f"--tenant={TENANT}"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "PIPELINES_TOKEN": running_product.token}
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
