"""Starts the load client as a process of its own and reads its account."""

import json
import subprocess
import sys
from dataclasses import asdict

from benchmarks.load_client import Account, Task
from embedded.product import PROJECT

PATIENCE_SECONDS = 300.0


class LoadError(Exception):
    """The client could not do its work; the message says what it was told."""


class NotOffered(LoadError):
    """The server answered 404: it has no such endpoint."""


def submit(task: Task) -> Account:
    """Have everything submitted. Raises `NotOffered`, and `LoadError` unless every item was accepted."""
    # -S: no site packages, so that the client starts at once and stays small.
    try:
        done = subprocess.run(
            [sys.executable, "-S", "-m", "benchmarks.load_client"],
            cwd=PROJECT,
            input=json.dumps(asdict(task)),
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"{task.path} has not answered everything within {PATIENCE_SECONDS:g} s") from error
    if done.returncode != 0:
        raise LoadError(f"The load client failed:\n{done.stderr}")
    account = Account(**json.loads(done.stdout))
    if set(account.statuses) == {"404"}:
        raise NotOffered(f"{task.path} answers 404")
    if account.accepted != task.count:
        raise LoadError(
            f"{account.accepted} of {task.count} items were accepted; statuses {account.statuses}: {account.complaint}"
        )
    return account


def with_client(cpu: dict[str, float], account: Account) -> dict[str, float]:
    """A meter's account that tells the client, a child that has ended, apart from the rest."""
    return {**cpu, "client": account.cpu, "rest": cpu["rest"] - account.cpu}
