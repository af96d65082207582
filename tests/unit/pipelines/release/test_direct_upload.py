"""Direct uploads to the artifact store: bytes, addresses, retries and the verification."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines import DefinitionError
from pipelines.release.direct_upload import send
from tests.unit.pipelines.small_servers import Recorder, Request, Response, serving

DATA = b"0123456789"
PART = 4
TRIES = 6


class Store(Recorder):
    """Responds to each PUT with the next of `statuses`, and then with 200."""

    def __init__(self) -> None:
        super().__init__()
        self.statuses: list[int] = []
        self.location = ""
        self.parts: list[tuple[str, bytes]] = []

    def respond(self, request: Request) -> Response:
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 200:
            self.parts.append((request.path, request.body))
        return Response(status, headers={"Location": self.location})


class Coordinator:
    """Lists the parts of DATA for `store`. After completion, it returns the next of `statuses`."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.statuses = ["STORED"]
        self.status = "OPEN"

    def call(self, method: str, path: str, expected: tuple[int, ...], **_: Any) -> dict[str, Any]:
        if path.endswith("/complete") or self.status == "VERIFYING":
            self.status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        there = {name for name, _ in self.store.parts}
        missing: list[dict[str, Any]] = [
            {"url": f"{self.store.url}/{offset}", "offset": offset, "size": min(PART, len(DATA) - offset)}
            for offset in range(0, len(DATA), PART)
            if f"/{offset}" not in there and self.status == "OPEN"
        ]
        received = len(DATA) - sum(part["size"] for part in missing)
        finding = {"message": "other bytes arrived"} if self.status == "REJECTED" else None
        upload = {"uploadId": "u", "status": self.status, "size": len(DATA), "received": received}
        return {**upload, "finding": finding, "missing": missing}


@pytest.fixture
def stores() -> Iterator[list[Store]]:
    made = [Store(), Store()]
    with serving(*made):
        yield made


@pytest.fixture
def coordinator(stores: list[Store]) -> Coordinator:
    return Coordinator(stores[0])


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of each pause between two tries. The test does not wait for them."""
    made: list[float] = []
    monkeypatch.setattr(time, "sleep", lambda seconds: made.append(seconds) if seconds else None)
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "app.zip"
    path.write_bytes(DATA)
    return path


def sent(file: Path, coordinator: Coordinator, verdict_timeout: float = 20.0) -> list[tuple[int, int]]:
    progress: list[tuple[int, int]] = []
    assert send(
        file, "sha256:0", coordinator.call, lambda *each: progress.append(each), verdict_timeout=verdict_timeout
    )
    return progress


def test_only_failures_in_a_row_count_and_no_more_bytes_are_sent_than_a_part_has(
    file: Path, coordinator: Coordinator
) -> None:
    coordinator.store.statuses = ([503] * (TRIES - 1) + [200]) * 3
    assert sent(file, coordinator)[-1] == (10, 10)
    assert coordinator.store.parts == [("/0", b"0123"), ("/4", b"4567"), ("/8", b"89")]


def test_an_upload_fails_if_the_store_accepts_no_part(
    file: Path, coordinator: Coordinator, pauses: list[float]
) -> None:
    coordinator.store.statuses = [503] * 100
    with pytest.raises(DefinitionError, match="STORE_UNREACHABLE"):
        sent(file, coordinator)
    assert len(coordinator.store.requests) == TRIES
    assert pauses == sorted(set(pauses)), "each pause is longer than the one before"


def test_the_store_gets_no_credentials_and_redirects_are_not_followed(
    file: Path, stores: list[Store], coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = file.with_name("netrc")
    netrc.write_text("machine 127.0.0.1 login user password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    first, other = stores
    first.statuses, first.location = [307] * TRIES, f"{other.url}/0"
    with pytest.raises(DefinitionError, match="STORE_UNREACHABLE"):
        sent(file, coordinator)
    assert [request.authorization for request in first.requests] == [""] * TRIES
    assert other.requests == []


def test_only_what_is_stored_is_sent_and_the_wait_for_a_verdict_ends(file: Path, stores: list[Store]) -> None:
    for store, verdict in zip(stores, ("REJECTED", "EXPIRED"), strict=True):
        coordinator = Coordinator(store)
        coordinator.statuses = ["VERIFYING", verdict]
        with pytest.raises(DefinitionError, match="UPLOAD_REJECTED"):
            sent(file, coordinator)
    slow = Coordinator(stores[0])
    slow.statuses = [*["VERIFYING"] * 10, "STORED"]
    with pytest.raises(DefinitionError, match="VERDICT_OVERDUE"):
        sent(file, slow, verdict_timeout=-1.0)


def test_only_a_coordinator_without_direct_uploads_gets_the_file_with_the_release(file: Path) -> None:
    def answered(code: str) -> bool:
        answer = {"code": code, "detail": "50 uploads are open"}
        return send(file, "sha256:0", lambda *_, **__: answer, lambda *_: None, verdict_timeout=0.0)

    assert not answered("DIRECT_UPLOADS_UNAVAILABLE")
    assert not answered("NOT_FOUND")
    with pytest.raises(DefinitionError, match="DIRECT_UPLOADS_FULL"):
        answered("DIRECT_UPLOADS_FULL")
