"""Clients of a broker that Sentinels watch follow its primary, and only to servers that they trust."""

from pathlib import Path
from typing import Any

import pytest
from kombu import Connection
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError as ConnectionLostError

from tests.cases import cases
from tests.sentinel import watched
from tests.tls_proxy import make_certificate
from wire.broker.client import survive_broker_loss
from wire.broker.sentinel import client, transport_options
from wire.broker.tls import tls_options
from wire.broker_url import kombu_url

TIMEOUTS = {"socket_timeout": 5.0, "socket_connect_timeout": 2.0}


@cases("trusted", [True, False])
def test_only_trusted_servers_are_connected_to_over_tls(tmp_path: Path, trusted: bool) -> None:
    survive_broker_loss()
    certificate = make_certificate(tmp_path / "broker.pem", "127.0.0.1")
    with watched(tmp_path, certificate) as brokers:
        tls = tls_options(brokers.url, str(certificate if trusted else ""))
        options = transport_options(brokers.url, tls, **TIMEOUTS)
        with (
            client(brokers.url, tls, **TIMEOUTS) as found,
            Connection(kombu_url(brokers.url), ssl=tls, transport_options=options) as connection,
        ):
            if trusted:
                assert found.set("key", "value")
                channel: Any = connection.default_channel
                assert channel.client.get("key") == b"value"
                return
            with pytest.raises(ConnectionLostError):
                found.ping()
            with pytest.raises(OperationalError):
                connection.ensure_connection(max_retries=1)
