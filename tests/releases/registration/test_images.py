import base64
import json
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from django.db.models.functions import Now

from releases import policy
from releases.errors import ReleaseConflict
from releases.models import Release
from releases.registration.image_registry import MANIFESTS, MAX_MANIFEST_BYTES
from releases.registration.progress import findings_so_far, waits_until
from tests import making
from tests.authority import make_certificate
from tests.cases import cases
from tests.http_server import HttpServer, Request, send
from tests.making import verdict
from tests.raw_sql import raised, unguarded
from tests.receiving import receiving
from wire.findings import Finding, Severity

pytestmark = pytest.mark.django_db

CONTRACT = making.contract()
DIGEST = making.digest_of(b"manifest")
URI = "pipeline-release.json#artifacts[0].uri"
REPOSITORY = "acme/app"


class ImageRegistry(HttpServer):
    """A registry with the manifests `digests` in one repository. If `token` is set, it issues and requires it."""

    def __init__(self, certificate: Path | None = None) -> None:
        super().__init__(certificate)
        self.host = f"{'localhost' if certificate is None else '127.0.0.1'}:{self.port}"
        self.digests: set[str] = set()
        self.reported_digest: str | None = None
        self.token: str | None = None
        self.token_padding = ""
        """Additional text in the token document."""
        self.password: str | None = None
        self.status: int | None = None
        self.head_status: int | None = None
        """The response to each HEAD request, even if it is authorised."""
        self.manifest = b"manifest"
        """The body of each response with a manifest."""
        self.realm: str | None = None
        self.location: str | None = None
        self.breaks_off = False
        """If True, every response ends after its status line."""
        self.gate = threading.Event()
        """Requests wait until this event is set. A test can clear it."""
        self.gate.set()
        self.seconds = 0.0
        """The duration of each response in seconds."""
        self.requests: list[tuple[str, str, dict[str, str]]] = []

    def release(self) -> None:
        self.gate.set()

    def respond(self, request: Request) -> None:
        self.requests.append((request.command, request.path, dict(request.headers)))
        self.gate.wait(120)
        time.sleep(self.seconds)
        if self.breaks_off:
            request.wfile.write(b"HTTP/1.1 200 OK\r\n")
        else:
            send(request, *self._response(request, request.headers.get("Authorization", "")))

    def reference(self, digest: str) -> str:
        return f"{self.host}/{REPOSITORY}@{digest}"

    def _response(self, request: Request, authorization: str) -> tuple[int, dict[str, str], bytes]:
        path = request.path
        if self.head_status is not None and request.command == "HEAD":
            return self.head_status, {}, b""
        if self.status is not None:
            return self.status, {"Location": self.location or ""}, b""
        if path.startswith("/token"):
            if self.password is not None and not authorization.startswith("Basic "):
                return 401, {}, b"{}"
            return 200, {}, json.dumps({"token": self.token, "more": self.token_padding}).encode()
        if self.token is not None and authorization != f"Bearer {self.token}":
            realm = self.realm or f"http://{self.host}/token"
            return 401, {"WWW-Authenticate": f'Bearer realm="{realm}",service="registry"'}, b""
        prefix = f"/v2/{REPOSITORY}/manifests/"
        digest = path.removeprefix(prefix)
        if not path.startswith(prefix) or digest not in self.digests:
            return 404, {}, b""
        return 200, {"Docker-Content-Digest": self.reported_digest or digest}, self.manifest


def document(uri: str, kind: str = "container-image") -> dict[str, Any]:
    made = making.descriptor(CONTRACT, b"manifest", kind=kind)
    made["artifacts"][0]["uri"] = uri
    return made


@pytest.fixture
def registry(settings: Any) -> Iterator[ImageRegistry]:
    with ImageRegistry().running() as made:
        settings.IMAGE_REGISTRY_CHECK = True
        settings.IMAGE_REGISTRY_ALLOWED_NETWORKS = [ip_network("127.0.0.0/8"), ip_network("::1/128")]
        settings.IMAGE_REGISTRIES_PLAIN_HTTP = [made.host]
        settings.IMAGE_REGISTRY_SECONDS = 2
        yield made


def check(registry: ImageRegistry) -> tuple[str, list[tuple[str, str]]]:
    return verdict(making.upload(making.tenant(), document(registry.reference(DIGEST))).release)


@cases(
    ("uri", "checked", "members", "expected"),
    ("registry.example/app:1.0", True, {}, ("REJECTED", "IMAGE_REFERENCE_NOT_PINNED")),
    ("not a reference", False, {"any_reference": True}, ("REGISTERED", "IMAGE_REFERENCE_MALFORMED")),
    ("not a reference", True, {"any_reference": True}, ("REJECTED", "IMAGE_REFERENCE_MALFORMED")),
)
def test_a_reference_that_does_not_pin_its_image_is_rejected_or_a_warning(
    settings: Any, uri: str, checked: bool, members: dict[str, Any], expected: tuple[str, str]
) -> None:
    settings.IMAGE_REGISTRY_CHECK = checked
    release = making.upload(making.tenant(), document(uri), **members).release
    status, code = expected
    assert verdict(release) == (status, [(code, URI)])


def test_a_different_contract_document_for_a_stored_version_is_a_conflict() -> None:
    owner, beside = making.tenant(), json.dumps(CONTRACT).encode()
    image = document(f"registry.example/app@{DIGEST}")
    made = making.upload(owner, image, contract=beside)
    assert (made.created, making.upload(owner, image, contract=beside).created) == (True, False)
    raised(ReleaseConflict, making.upload, owner, image, contract=beside + b" ")


def test_an_image_whose_manifest_exists_is_registered_and_not_pulled(registry: ImageRegistry) -> None:
    registry.digests.add(DIGEST)
    assert check(registry) == ("REGISTERED", [])
    [(method, path, headers)] = registry.requests
    assert (method, path) == ("HEAD", f"/v2/acme/app/manifests/{DIGEST}")
    assert "application/vnd.oci.image.manifest.v1+json" in headers["Accept"]
    assert "Authorization" not in headers


def test_a_missing_manifest_and_a_different_digest_are_findings(registry: ImageRegistry) -> None:
    assert check(registry) == ("REJECTED", [("IMAGE_MANIFEST_MISSING", URI)])
    registry.digests.add(DIGEST)
    registry.reported_digest = making.digest_of(b"other")
    assert check(registry) == ("REJECTED", [("IMAGE_MANIFEST_OTHER_DIGEST", URI)])
    registry.status, registry.location = 307, f"http://{registry.host}/elsewhere"
    assert check(registry) == ("VERIFYING", []), "a redirect is not followed"
    assert len(registry.requests) == 3


@cases(
    ("head", "get", "body", "expected"),
    (405, None, b"manifest", ("REGISTERED", [])),
    (501, None, b"manifest", ("REGISTERED", [])),
    (501, None, b"manifest ", ("REJECTED", [("IMAGE_MANIFEST_OTHER_DIGEST", URI)])),
    (501, None, b"m" * (MAX_MANIFEST_BYTES + 1), ("REJECTED", [("IMAGE_MANIFEST_TOO_LARGE", URI)])),
    (501, 404, b"", ("REJECTED", [("IMAGE_MANIFEST_MISSING", URI)])),
    (501, 307, b"", ("VERIFYING", [])),
    (501, 501, b"", ("VERIFYING", [])),
    (404, None, b"manifest", ("REJECTED", [("IMAGE_MANIFEST_MISSING", URI)])),
)
def test_a_registry_without_head_gets_a_get_request(
    registry: ImageRegistry, head: int, get: int | None, body: bytes, expected: tuple[str, list[Any]]
) -> None:
    registry.digests.add(DIGEST)
    registry.token, registry.head_status, registry.status, registry.manifest = "let-in", head, get, body
    registry.requests.clear()
    registry.location = f"http://{registry.host}/elsewhere"
    assert check(registry) == expected
    manifests = [(method, headers["Accept"]) for method, path, headers in registry.requests if "/manifests/" in path]
    assert manifests[0] == ("HEAD", MANIFESTS)
    assert set(manifests[1:]) == (set() if head == 404 else {("GET", MANIFESTS)})


def uploaded_ago(release: Release, **duration: float) -> None:
    with unguarded(Release):
        Release.objects.filter(pk=release.pk).update(created_at=Now() - timedelta(**duration))


def test_a_silent_registry_rejects_in_time(registry: ImageRegistry, settings: Any) -> None:
    release = making.upload(making.tenant(), document(registry.reference(DIGEST))).release
    policy.change(release.pipeline, {"verificationHours": 3}, actor="user:ann")
    settings.IMAGE_REGISTRY_SECONDS = 0.2
    registry.gate.clear()
    uploaded_ago(release, hours=2, minutes=59)
    assert verdict(release) == ("VERIFYING", [])
    [known] = release.progress.values()
    reason = f"image app: {registry.host} is unavailable: no complete response in time"
    assert known["findings"] == [Finding("IMAGE_REGISTRY_UNAVAILABLE", URI, reason, Severity.WARNING).to_json()]
    assert findings_so_far(release) == known["findings"]
    assert waits_until(release) == release.created_at + timedelta(hours=3)
    uploaded_ago(release, hours=3)
    assert verdict(release) == ("REJECTED", [("IMAGE_REGISTRY_UNAVAILABLE", URI)])
    assert release.findings[0]["message"].startswith(f"{reason}. ")
    registry.gate.set()
    registry.digests.add(DIGEST)
    again = making.upload(release.pipeline.tenant, release.descriptor)
    assert (again.created, verdict(again.release)) == (True, ("REGISTERED", []))


@cases("order", [1, -1])
def test_a_refusal_is_certain_although_another_registry_does_not_answer(
    registry: ImageRegistry, settings: Any, caplog: pytest.LogCaptureFixture, order: int
) -> None:
    registry.digests.clear()
    caplog.clear()
    silent = "localhost:1"
    settings.IMAGE_REGISTRIES_PLAIN_HTTP = [registry.host, silent]
    several = document("")
    [image] = several["artifacts"]
    images = [{**image, "artifactId": host, "uri": f"{host}/acme/app@{DIGEST}"} for host in (registry.host, silent)]
    several["artifacts"] = images[::order] + [{**images[1], "artifactId": f"more-{count}"} for count in range(5)]
    release = making.upload(making.tenant(), several).release
    assert verdict(release)[0] == "REJECTED"
    findings = [(finding["code"], finding["severity"]) for finding in release.findings]
    assert findings == [("IMAGE_MANIFEST_MISSING", "error"), ("IMAGE_REGISTRY_UNAVAILABLE", "warning")]
    assert caplog.text.count(f"registry {silent}: ") == 3, "it is asked three times at most"
    registry.digests.add(DIGEST)
    assert verdict(making.upload(making.tenant(), several).release) == ("VERIFYING", [])
    several["artifacts"].append({**image, "artifactId": "any", "uri": f"{registry.host}/acme/app:latest"})
    findings = verdict(making.upload(making.tenant(), several).release)[1]
    assert {code for code, _ in findings} == {"IMAGE_REFERENCE_NOT_PINNED", "IMAGE_REGISTRY_UNAVAILABLE"}


def test_a_password_is_sent_only_to_a_token_server_of_its_own_registry(registry: ImageRegistry, settings: Any) -> None:
    registry.digests.add(DIGEST)
    registry.token, registry.password = "let-in", "secret"
    settings.IMAGE_REGISTRY_CREDENTIALS = {"registry.example": "eva:secret", "localhost": "eva:secret"}
    assert check(registry) == ("REJECTED", [("IMAGE_REGISTRY_DENIED", URI)])
    assert [headers for _, _, headers in registry.requests if "Authorization" in headers] == []
    assert registry.requests[1][1] == "/token?service=registry&scope=repository%3Aacme%2Fapp%3Apull"
    settings.IMAGE_REGISTRY_CREDENTIALS = {registry.host: "eva:secret"}
    registry.requests.clear()
    assert check(registry) == ("REGISTERED", [])
    sent = [headers.get("Authorization", "").partition(" ")[::2] for _, _, headers in registry.requests]
    assert sent == [("", ""), ("Basic", base64.b64encode(b"eva:secret").decode()), ("Bearer", "let-in")]


@cases("realm", ["http://127.0.0.2:{port}/token", "//127.0.0.2:{port}/token"])
def test_tls_is_required_for_a_password(registry: ImageRegistry, settings: Any, tmp_path: Path, realm: str) -> None:
    certificate = make_certificate(tmp_path / "certificate.pem", "127.0.0.1")
    settings.IMAGE_REGISTRY_CA_FILE = str(certificate)
    with ImageRegistry(certificate).running() as under_tls, receiving("127.0.0.2") as in_the_open:
        settings.IMAGE_REGISTRY_CREDENTIALS = {under_tls.host: "eva:secret"}
        under_tls.token, under_tls.realm = "let-in", realm.format(port=in_the_open.port)
        assert check(under_tls) == ("REJECTED", [("IMAGE_REGISTRY_DENIED", URI)])
        under_tls.realm = f"https://{under_tls.host}/token"
        under_tls.digests.add(DIGEST)
        assert check(under_tls) == ("REGISTERED", [])
        assert in_the_open.requests == []


def test_a_registry_that_fails_gives_no_verdict_and_is_checked_again_later(registry: ImageRegistry) -> None:
    release = making.upload(making.tenant(), document(registry.reference(DIGEST))).release
    for registry.status in (429, 503):
        assert verdict(release) == ("VERIFYING", [])
    registry.status = None
    for registry.token, registry.token_padding in (("lét-in", ""), ("let-in", "x" * 70_000)):
        assert verdict(release) == ("VERIFYING", []), "the token is not sent"
    registry.token, registry.breaks_off = None, True
    assert verdict(release) == ("VERIFYING", [])
    registry.breaks_off = False
    registry.digests.add(DIGEST)
    assert verdict(release) == ("REGISTERED", [])
    registry.server.server_close()
    assert check(registry) == ("VERIFYING", [])


def test_only_allowed_registries_are_called_and_with_tls(registry: ImageRegistry, settings: Any) -> None:
    allowed = settings.IMAGE_REGISTRY_ALLOWED_NETWORKS
    settings.IMAGE_REGISTRY_ALLOWED_NETWORKS = []
    assert check(registry) == ("REJECTED", [("IMAGE_REGISTRY_NOT_ALLOWED", URI)])
    settings.IMAGE_REGISTRY_ALLOWED_NETWORKS, settings.IMAGE_REGISTRIES = allowed, ["registry.example"]
    assert check(registry) == ("REJECTED", [("IMAGE_REGISTRY_NOT_ALLOWED", URI)])
    settings.IMAGE_REGISTRIES, settings.IMAGE_REGISTRIES_PLAIN_HTTP = [registry.host], []
    assert check(registry) == ("VERIFYING", [])
    assert registry.requests == []
    settings.IMAGE_REGISTRIES_PLAIN_HTTP = [registry.host]
    registry.digests.add(DIGEST)
    assert check(registry) == ("REGISTERED", [])
