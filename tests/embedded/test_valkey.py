from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from embedded.valkey import Valkey, worker_url


def test_no_command_line_and_no_readable_file_contains_the_password(tmp_path: Path) -> None:
    with Valkey(tmp_path) as server:
        assert server.child is not None
        for url in (server.url, server.owner_url, worker_url(server.owner_url, "acme")):
            password = urlsplit(url).password
            assert password
            assert password not in Path(f"/proc/{server.child.pid}/cmdline").read_text()
            assert password not in (tmp_path / "valkey.acl").read_text()
        assert (tmp_path / "valkey" / "valkey.conf").stat().st_mode & 0o777 == 0o600


def test_data_that_is_a_second_old_survives_sigkill(tmp_path: Path) -> None:
    server = Valkey(tmp_path)
    with server:
        with redis.Redis.from_url(server.url) as client:
            client.set("key", "value")
            assert client.waitaof(1, 0, 5000) == [1, 0]
        server.kill()
        server.start()
        with redis.Redis.from_url(server.url) as client:
            assert client.get("key") == b"value"


def test_workers_keep_their_user_when_the_server_loses_its_data(tmp_path: Path) -> None:
    server = Valkey(tmp_path)
    with server:
        urls = [worker_url(server.owner_url, "acme") for _ in range(2)]
        server.kill()
        server.remove_data()
        server.start()
        for url in urls:
            with redis.Redis.from_url(url) as client:
                assert client.ping()
        with redis.Redis.from_url(server.owner_url) as owner:
            user: Any = owner.acl_getuser("worker-acme")
            assert len(user["passwords"]) == 2
            assert len(user["selectors"]) == 1


def test_strangers_and_the_product_cannot_administer_the_server(tmp_path: Path) -> None:
    with Valkey(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        for command in ("ACL LIST", "CONFIG GET *", "FLUSHALL", "KEYS *", "MONITOR", "SHUTDOWN", "CLIENT LIST"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command.split())
        with (
            redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0)) as stranger,
            pytest.raises(redis.exceptions.AuthenticationError),
        ):
            stranger.ping()
