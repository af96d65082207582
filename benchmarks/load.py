"""Starts the load client as a separate process and reads its account."""

import json
import subprocess
import sys
from dataclasses import asdict

from benchmarks.load_client import Account, Task
from embedded.product import PROJECT

TIMEOUT_SECONDS = 300.0


class LoadError(Exception):
    """The client failed. The message contains the server's response."""


class NotOffered(LoadError):
    """The server responded with 404, because it does not have the endpoint."""


def submit(task: Task) -> Account:
    """Run the load client. Raises `NotOffered`, and `LoadError` unless every item was accepted."""
    account = offer(task)
    if set(account.statuses) == {"404"}:
        raise NotOffered(f"{task.path} responds with 404")
    if account.accepted != task.count:
        raise LoadError(
            f"{account.accepted} of {task.count} items were accepted; statuses {account.statuses}: {account.error}"
        )
    return account


def offer(task: Task) -> Account:
    """Run the load client, and return its account of all responses. Raises `LoadError` if it fails."""
    # -S: no site packages, so that the client starts at once and stays small.
    try:
        done = subprocess.run(
            [sys.executable, "-S", "-m", "benchmarks.load_client"],
            cwd=PROJECT,
            input=json.dumps(asdict(task)),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"{task.path} did not respond to everything within {TIMEOUT_SECONDS:g} s") from error
    if done.returncode != 0:
        raise LoadError(f"The load client failed:\n{done.stderr}")
    return Account(**json.loads(done.stdout))


def with_client(cpu: dict[str, float], account: Account) -> dict[str, float]:
    """Return `cpu` with the time of the client, which has ended, separate from the rest."""
    return {**cpu, "client": account.cpu, "rest": cpu["rest"] - account.cpu}
