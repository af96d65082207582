"""What holds for every store on a server: failures of the server and the network are never a verdict on a blob."""

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from releases.artifacts.store.base import CHUNK
from releases.errors import ArtifactStoreUnavailable
from tests.faults import Relay
from tests.making import digest_of
from tests.releases.artifacts.store.bench import RemoteBench

DATA = b"some bytes" * 300_000
DIGEST = digest_of(DATA)


@pytest.fixture
def relay(remote: RemoteBench) -> Iterator[Relay]:
    with Relay(remote.port) as relay:
        yield relay


@pytest.fixture
def far(remote: RemoteBench, relay: Relay, tmp_path: Path) -> RemoteBench:
    """The store behind a connection that may fail."""
    return remote.through(relay, tmp_path / "far")


def unavailable(use: Any, *arguments: Any) -> str:
    with pytest.raises(ArtifactStoreUnavailable) as caught:
        use(*arguments)
    return caught.value.detail


def test_an_object_that_another_process_created_first_is_kept(remote: RemoteBench) -> None:
    """The loser of a race reads the winner's object, here known by its metadata, and does not write it again."""
    staged = remote.store.stage(limit=10**9)
    staged.write(DATA)
    staged.sync()
    remote.label(DIGEST, DATA)
    staged.keep()
    assert remote.labelled(DIGEST)


def test_a_server_that_refuses_connections_or_is_too_slow(remote: RemoteBench, far: RemoteBench, relay: Relay) -> None:
    remote.keep(DATA)
    relay.refusing = True
    for use in (far.store.stat, far.store.verified, far.store.read, far.store.remove, far.store.quarantine):
        assert "does not answer" in unavailable(use, DIGEST)
    assert "does not answer" in unavailable(lambda: list(far.store.list()))
    unavailable(far.keep, b"more")
    relay.repair()
    assert far.store.verified(DIGEST) is not None
    relay.stalled.set()
    assert "does not answer" in unavailable(far.store.verified, DIGEST)
    relay.repair()
    assert far.store.verified(DIGEST) is not None


def test_a_missing_bucket_is_not_a_missing_blob(remote: RemoteBench, tmp_path: Path) -> None:
    store = remote.elsewhere(tmp_path / "elsewhere")
    for use in (store.stat, store.verified, store.read, store.remove, store.quarantine):
        message = unavailable(use, DIGEST)
        assert message.startswith("The artifact store refused: ")
        assert "no-such-bucket" not in message
    staged = store.stage(limit=100)
    staged.write(b"bytes")
    unavailable(staged.keep)
    unavailable(lambda: list(store.list()))


def test_the_callback_is_called_for_each_chunk(remote: RemoteBench) -> None:
    """A verification renews its claim with it, which takes less than the time that one chunk may take."""
    calls: list[str] = []
    data = bytes(9 * CHUNK + 1)
    remote.keep(data)
    file = remote.store.read(digest_of(data), lambda: calls.append("read"))
    assert file is not None
    file.close()
    assert remote.store.verified(digest_of(data), lambda: calls.append("verified")) is not None
    assert (calls.count("read") >= 3, calls.count("verified") >= 3) == (True, True)


def test_a_child_process_does_not_use_the_connections_of_its_parent(remote: RemoteBench) -> None:
    remote.keep(DATA)
    # Not a child of this process: it has threads, whose locks a child would inherit.
    place = pickle.dumps((remote.place, remote.folder))
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "coordinator.settings"}
    subprocess.run([sys.executable, "-c", _FORKS, DIGEST], input=place, env=environment, check=True, timeout=60)


_FORKS = """
import os, pickle, sys
import django
django.setup()
place, folder = pickle.load(sys.stdin.buffer)
store, digest = place.store(folder), sys.argv[1]
assert store.verified(digest)
before = store.client
child = os.fork()
if child == 0:
    os._exit(0 if store.client is not before and store.verified(digest) else 1)
assert os.waitpid(child, 0)[1] == 0
assert store.client is before
"""
