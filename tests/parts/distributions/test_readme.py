"""The commands of the README, in a new folder: from a new project to an execution that finishes on an older release."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from embedded.children import Child
from embedded.product import BIN, PROJECT
from tests.building import eventually

pytestmark = pytest.mark.timeout(300)
README = (PROJECT / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("## Your own pipeline in five minutes\n")[2].partition("\n## ")[0]
ORDER = """'{"number": 3, "amount": "1.00"}'"""


def steps() -> list[tuple[str, str]]:
    """Return each command of the section with the output that it shows."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command = re.match(r"(?:.*\\\n)*.*\n", part)
            assert command is not None
            found.append((command[0], part[command.end() :]))
    return found


class Terminal:
    """A shell, in which a person types one command after the other."""

    def __init__(self, folder: Path) -> None:
        (folder / ".venv").symlink_to(Path(BIN).parent)
        self._log = (folder / "terminal.log").open("w+b")
        self._shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(PROJECT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,
        )

    def type(self, command: str) -> str:
        """Return the output of a command, which must succeed."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        # A job in the background keeps no pipe open, and writes to the log.
        command = re.sub(r" &\n$", " >&2 &\n", command)
        self._shell.stdin.write(f"{command}printf '\\nEND %s\\n' $?\n")
        self._shell.stdin.flush()
        output = ""
        for line in self._shell.stdout:
            if line.startswith("END "):
                assert line == "END 0\n", (command, output, Path(self._log.name).read_text())
                return output
            output += line
        raise AssertionError(f"the shell has ended: {output}")

    def close(self) -> None:
        os.killpg(self._shell.pid, signal.SIGKILL)
        with self._shell, self._log:
            pass


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    made = Terminal(tmp_path)
    yield made
    made.close()


@pytest.fixture
def servers() -> Iterator[list[Child]]:
    started: list[Child] = []
    yield started
    for child in started:
        child.stop()


def another_terminal(command: str, terminal: Terminal) -> Child:
    words = [str(Path(BIN) / command.split()[0]), *command.partition("#")[0].split()[1:]]
    folder = Path(terminal.type("pwd\n").strip())
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(PROJECT)}
    child = Child(words, name="server", log=folder.parent / "server.log", environment=environment, directory=folder)

    def is_ready() -> bool:
        assert child.running, child.log_tail()
        return "\nsource " in child.log.read_text()

    eventually(is_ready, seconds=120, what="the coordinator")
    return child


def test_the_commands_of_the_readme(terminal: Terminal, servers: list[Child]) -> None:
    """An execution that 1.0 accepted before the switch finishes on 1.0.

    The worker is stopped before the switch and killed after it, so only the worker of the last command can finish it.
    """
    [source] = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
    *before, last = steps()
    assert last[0].startswith("pipelines worker ")
    waiting: dict[str, Any] = {}
    for command, shown in before:
        if command.startswith("coordinator dev"):
            servers.append(another_terminal(command, terminal))
            continue
        if command.startswith("sed "):  # the switch begins
            written = terminal.type("cat orders.py\n").splitlines()
            assert [line for line in source.splitlines() if line not in written] == []
            terminal.type("first=$!; kill -STOP $first\n")
            waiting = json.loads(
                terminal.type(f"coordinator executions submit org.example.orders --input {ORDER} --output json\n")
            )
        output = terminal.type(command)
        if "…" not in shown and "{" in shown:
            assert json.loads(output[output.index("{") :]) == json.loads(shown[shown.index("{") :])
    terminal.type("kill -KILL $first\n")
    show = f"coordinator executions show {waiting['executionId']} --output json\n"
    found = json.loads(terminal.type(show))
    assert (found["status"] not in {"SUCCEEDED", "FAILED"}, found["pin"]["releaseVersion"]) == (True, "1.0")
    terminal.type(last[0])
    eventually(lambda: json.loads(terminal.type(show))["status"] == "SUCCEEDED", seconds=180, what="the end on 1.0")
    result = json.loads(terminal.type(f"coordinator executions result {waiting['executionId']}\n"))
    assert result == {"number": 3, "text": "1.00 to pay"}
    assert terminal.type("ls dist\n").split() == ["1.0", "2.0"]
