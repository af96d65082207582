"""How the commands start: without Django, and with a private token file."""

from pathlib import Path

import pytest

from tests.cases import cases
from tests.command_line import CommandLine, imported



@cases("command", ["--help", "executions list"])
def test_no_django_is_loaded(command: str) -> None:
    found = imported(*command.split(), *(["--url=http://127.0.0.1:1", "--tenant=t", "--token=x"] * ("list" in command)))
    assert {"typer", "coordinator"} <= found
    assert not found & {"django", "celery", "psycopg", "rest_framework", "boto3", "requests"}


def test_a_token_file_is_private(run: CommandLine) -> None:
    file = run.home / "token"
    file.write_text("secret-token\n")
    options = ["--url=http://127.0.0.1:1", "--tenant=t", f"--token-file={file}"]
    file.chmod(0o640)
    refused = run("pipelines", "list", *options)
    assert (refused.status, "chmod 600" in refused.err, "secret-token" in refused.err) == (2, True, False)
    file.chmod(0o600)
    assert run("pipelines", "list", *options).status == 6
