"""Direct uploads to the artifact store."""

from pathlib import Path
from typing import Any

import pytest

from pipelines import DefinitionError
from pipelines.release import direct_upload
from tests.unit.pipelines.small_servers import Recorder, Request, Response, serving


class Store(Recorder):
    """Redirects every request."""

    location = ""

    def respond(self, request: Request) -> Response:
        return Response(307, headers={"Location": self.location})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "app.zip"
    path.write_bytes(b"0123456789")
    return path


def send(file: Path, status: str, *missing: dict[str, Any]) -> None:
    """Send a file to a coordinator that always answers with this status and these missing parts."""
    upload = {"uploadId": "u", "status": status, "size": 10, "received": 0, "finding": None, "missing": list(missing)}
    direct_upload.send(file, "sha256:0", lambda *_, **__: upload, lambda *_: None, verdict_timeout=20.0)


def test_the_store_gets_no_credentials_and_redirects_are_not_followed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = file.with_name("netrc")
    netrc.write_text("machine 127.0.0.1 login user password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setattr("time.sleep", lambda _: None)
    first, other = Store(), Store()
    first.location = other.url
    with serving(first, other), pytest.raises(DefinitionError, match="STORE_UNREACHABLE"):
        send(file, "OPEN", {"url": f"{first.url}/0", "offset": 0, "size": 10})
    assert {request.authorization for request in first.requests} == {""}
    assert other.requests == []


def test_a_rejected_upload_is_an_error(file: Path) -> None:
    with pytest.raises(DefinitionError, match="UPLOAD_REJECTED"):
        send(file, "REJECTED")
