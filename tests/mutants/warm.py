"""Runs pytest in forks of one process that has already imported the libraries. A script: `warm.py ADDRESS`.

Importing the libraries takes longer than most tests. No product code is imported before a fork, so each run imports the
current code.
"""

import importlib
import os
import signal
import sys
from contextlib import suppress
from multiprocessing.connection import Client
from pathlib import Path

# Libraries that can be imported without Django settings.
LIBRARIES = """
boto3 botocore.client celery.app celery.result cryptography.x509 django.contrib.staticfiles django.core.management
django.db.backends.postgresql.base django.db.models django.forms django.template.defaultfilters django.test
hypothesis.strategies jsonschema kombu.transport.redis psycopg pydantic.dataclasses pytest redis requests
securesystemslib.dsse yaml
"""
FAILED_TO_RUN = 3


def main(address: str) -> None:
    """Receive pairs of a log file and pytest arguments from `address`, and send the exit status for each."""
    sys.path[0] = str(Path.cwd())
    for name in LIBRARIES.split():
        importlib.import_module(name)
    with Client(address, "AF_UNIX") as runner, suppress(EOFError):
        while True:
            runner.send(run(*runner.recv()))


def run(log: str, arguments: list[str]) -> int:
    """Run pytest in a fork, kill the processes that it leaves running, and return its exit status."""
    child = os.fork()
    if child == 0:
        os.setsid()
        with Path(log).open("wb") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        os._exit(run_pytest(arguments))
    _, status = os.waitpid(child, 0)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(status)


def run_pytest(arguments: list[str]) -> int:
    import pytest

    code = FAILED_TO_RUN
    try:
        code = int(pytest.main(arguments))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return code


if __name__ == "__main__":
    main(sys.argv[1])
