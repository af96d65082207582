"""Faults of granian that the web process works around. A test fails when granian has fixed it: see docs/upstream.md."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedded.children import free_port
from embedded.guard import descendants
from embedded.product import BIN
from tests.building import eventually
from tests.cases import cases

APPLICATION = """
import atexit, pathlib, time

pathlib.Path("loading").touch()
time.sleep(float(pathlib.Path("delay").read_text()))
atexit.register(pathlib.Path("atexit").touch)

def application(environ, start_response):
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", "0")])
    return [b""]
"""
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
INCOMPLETE = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345"


class Granian:
    def __init__(self, folder: Path, delay: float) -> None:
        (folder / "plain.py").write_text(APPLICATION)
        (folder / "delay").write_text(str(delay))
        self.folder = folder
        self.port = free_port()
        options = ["--host=127.0.0.1", f"--port={self.port}", "--workers=1", "--blocking-threads=1", "--no-ws"]
        command = [str(BIN / "granian"), "--interface=wsgi", "plain:application", *options]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(folder)}
        self.process = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL)

    def worker(self) -> int:
        [worker] = eventually(lambda: descendants(self.process.pid), what="the worker of granian")
        return worker

    def answers(self, seconds: float) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.settimeout(seconds)
            connection.sendall(GET)
            return connection.recv(100).startswith(b"HTTP/1.1 200")
        return False

    def wait_until_ready(self) -> None:
        eventually(lambda: self.answers(5), what="granian to serve")


@contextmanager
def granian(folder: Path, *, delay: float = 0) -> Iterator[Granian]:
    started = Granian(folder, delay)
    workers: list[int] = []
    try:
        workers.append(started.worker())
        yield started
    finally:
        started.process.kill()
        started.process.wait()
        for worker in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)


def is_running(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_a_worker_outlives_a_killed_granian(tmp_path: Path) -> None:
    with granian(tmp_path) as server:
        server.wait_until_ready()
        worker = server.worker()
        server.process.kill()
        server.process.wait()
        time.sleep(3)
        assert is_running(worker)
        assert server.answers(5)


def test_a_worker_runs_no_exit_functions(tmp_path: Path) -> None:
    with granian(tmp_path) as server:
        server.wait_until_ready()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        assert not (tmp_path / "atexit").exists()


def test_a_worker_ignores_sigterm_while_it_loads_the_application(tmp_path: Path) -> None:
    with granian(tmp_path, delay=3) as server:
        eventually((tmp_path / "loading").exists, what="the application to load")
        worker = server.worker()
        os.kill(worker, signal.SIGTERM)
        server.wait_until_ready()
        assert server.worker() == worker


@cases("seconds", [3])
def test_an_incomplete_body_occupies_a_thread(tmp_path: Path, seconds: float) -> None:
    with granian(tmp_path) as server:
        server.wait_until_ready()
        with socket.create_connection(("127.0.0.1", server.port)) as incomplete:
            incomplete.sendall(INCOMPLETE)
            time.sleep(0.5)
            assert not server.answers(seconds)
        server.wait_until_ready()
