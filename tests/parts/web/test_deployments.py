"""The deployment API behind the real web server: paths as they are sent, and headers of Java's client."""

import json

import pytest

from embedded.product import Product
from releases.models import Release
from tests import making
from tests.interop.deploying import MEDIA_TYPE, described
from tests.parts.web.conftest import start_web
from tests.parts.web.talking import everything, opened
from tests.running import TenantInUse

UPGRADE = (
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    "HTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA\r\n"
)
CLOSE = "Connection: close\r\n"
NAMES = {
    (404, "NOT_FOUND"): "a%2Fb a/b",
    (400, "INVALID_REQUEST"): "%00 .. %2E%2E a%0Ab",
    # These are accepted, and the body is not.
    (400, "DESCRIPTOR_INVALID"): "a%20b %C3%A9t%c3%a9 a%252Fb a%3Bb%3Fc%23d",
}
"""The response for each name of an application."""


@pytest.fixture
def web(own: Product) -> Product:
    own.environment |= {"TPF_DEPLOYMENTS_ENABLED": "true", "TPF_DEPLOYMENT_WAIT_SECONDS": "0"}
    start_web(own)
    return own


def head(tenant: TenantInUse, length: int, more: str, application: str = "orders") -> bytes:
    target = f"organizations/{tenant.tenant.slug}/applications/{application}/environments/production"
    path = f"/api/v1/{target}/deployments"
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}Authorization: {tenant.http.headers['Authorization']!s}\r\n"
        f"Idempotency-Key: key\r\nX-TPF-Deployment-Mode: CUSTOMER_MANAGED\r\nContent-Type: {MEDIA_TYPE}\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


def response(web: Product, sent: bytes) -> tuple[int, str]:
    """Return the status and the code of the only response."""
    with opened(web.port, sent) as connection:
        first, _, body = everything(connection).partition(b"\r\n\r\n")
    return int(first.split()[1]), str(json.loads(body)["code"])


def test_an_offer_to_upgrade_is_ignored(web: Product, tenant: TenantInUse) -> None:
    document = described(uri="maven:com.acme:orders:1.0", digest=making.digest_of(b"x"))
    # The server keeps the connection open for a further request, which closes it.
    further = head(tenant, 2, CLOSE) + b"{}"
    with opened(web.port, head(tenant, len(document), UPGRADE) + document + further) as connection:
        received = everything(connection)
    assert received.startswith(b"HTTP/1.1 503 ")
    assert b"DEPLOYMENT_PENDING" in received
    assert b"retry-after: 5" in received.lower()
    assert received.count(b"HTTP/1.1 ") == 2
    assert b"DESCRIPTOR_INVALID" in received
    assert bytes(Release.objects.get(pipeline__tenant=tenant.tenant).descriptor_document) == document


def test_names_are_percent_encoded(web: Product, tenant: TenantInUse) -> None:
    for expected, names in NAMES.items():
        for name in names.split():
            assert response(web, head(tenant, 2, CLOSE, name) + b"{}") == expected, name
