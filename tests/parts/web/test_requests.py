"""Large requests."""

from pathlib import Path

from tests.parts.web.conftest import peaks, published
from tests.running import RunningProduct, TenantInUse

MEBIBYTE = 2**20


def test_a_large_upload_is_never_held_in_memory(running: RunningProduct, tenant: TenantInUse, tmp_path: Path) -> None:
    [web] = [child.pid for child in running.product.children.started if child.name == "web"]
    before = peaks(web)
    with (tmp_path / "large.bin").open("wb") as file:
        file.truncate(256 * MEBIBYTE)
    published(running.url, tenant, tmp_path / "large.bin")
    grown = [peak - before[pid] for pid, peak in peaks(web).items()]
    assert max(grown) < 64 * MEBIBYTE
