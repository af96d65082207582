import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from kombu import Connection
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import ConnectionError as ConnectionLostError

from embedded.valkey import Valkey
from tests.authority import make_certificate
from tests.parts.product.conftest import product_with_own_broker
from tests.running import BuiltRelease, RunningProduct, TenantInUse
from tests.tcp_proxy import over_tls, tls_in_front_of
from wire.addresses import tls_options
from wire.messages.queues import tenant_prefix


def use_every_right(tenant: TenantInUse, release: BuiltRelease) -> None:
    """Use every right of a worker: it is drained and undrained, runs, and stops."""
    worker = tenant.host(release, "worker")
    for command, state in (("drain", "DRAINING"), ("undrain", "HEALTHY")):
        tenant.post(f"workers/{release.pipeline_id}/worker/{command}")
        tenant.wait_for_worker("worker", state)
    execution_id = tenant.accepted("tests.pinned", {"number": 1}, "k")["executionId"]
    tenant.wait_for(execution_id, "SUCCEEDED")
    environment = Path(f"/proc/{worker.pid}/environ").read_text()
    passwords = re.findall(r"PIPELINES_BROKER_URL=rediss?://worker-[^:]+:([^@]+)@", environment)
    passwords.append(str(urlsplit(tenant.product.servers["REDIS_URL"]).password))
    logs = "".join(log.read_text() for log in (tenant.product.folder / "logs").iterdir())
    assert len(passwords) == 2
    assert not [password for password in passwords if password in logs]
    assert worker.stop(grace=20) == 0
    tenant.wait_for_worker("worker", "UNAVAILABLE")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path / "server", durable=False) as running:
        yield running


def test_every_process_connects_over_tls_and_needs_no_more_rights_than_its_user_has(
    running: RunningProduct, v1: BuiltRelease, name: str, tmp_path: Path, certificate: Path
) -> None:
    settings = {"REDIS_CA_FILE": str(certificate)}
    with product_with_own_broker(running, tmp_path, settings, certificate) as (product, valkey):
        tenant = product.tenant(name)
        try:
            use_every_right(tenant, v1)
        finally:
            tenant.stop_workers()
        assert product.product.environment["REDIS_URL"].startswith("rediss://")
        with Redis.from_url(valkey.owner_url) as owner:
            assert owner.acl_log() == []
            users = {client["user"] for client in owner.client_list()}
            assert "coordinator" in users
            assert "default" not in users
            remaining = [key.decode() for key in owner.scan_iter("*") if tenant_prefix(name) in key.decode()]
    # The instruction to the worker expires. The binding of a queue would not.
    assert all(key.startswith(f"{tenant_prefix(name)}worker.") for key in remaining)


def test_only_a_trusted_certificate_of_the_host_is_accepted(server: Valkey, tmp_path: Path, certificate: Path) -> None:
    other_host = make_certificate(tmp_path / "other.pem", "127.0.0.2")
    for presented, trusted, accepted in (
        (certificate, certificate, True),
        (certificate, None, False),
        (certificate, other_host, False),
        (other_host, other_host, False),
    ):
        with tls_in_front_of(server.port, presented) as port:
            url = over_tls(server.url, port)
            options = tls_options(url, str(trusted or ""))
            with Redis.from_url(url, **options) as client, Connection(url, ssl=options) as connection:
                if accepted:
                    assert client.ping()
                    connection.ensure_connection(max_retries=1)
                    continue
                with pytest.raises(ConnectionLostError, match="CERTIFICATE_VERIFY_FAILED"):
                    client.ping()
                with pytest.raises(OperationalError, match="CERTIFICATE_VERIFY_FAILED"):
                    connection.ensure_connection(max_retries=1)
