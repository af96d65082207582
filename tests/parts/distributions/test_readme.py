"""The commands of the README, in a new folder: from a new project to an execution that finishes on an older release."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from embedded.product import BIN, PROJECT
from tests.building import eventually
from tests.parts.distributions.shell import Shell

pytestmark = pytest.mark.timeout(300)
README = (PROJECT / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("## Your own pipeline in five minutes\n")[2].partition("\n## ")[0]
ORDER = """'{"number": 3, "amount": "1.00"}'"""


def steps() -> list[tuple[str, str]]:
    """Return each command of the section with the output that it shows."""
    commands = []
    for block in re.findall(r"^```console\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command = re.match(r"(?:.*\\\n)*.*\n", part)
            assert command is not None
            commands.append((command[0], part[command.end() :]))
    return commands


class Terminals:
    """Two terminals: commands are typed in the first one, and the coordinator runs in the second one."""

    def __init__(self, folder: Path) -> None:
        (folder / ".venv").symlink_to(Path(BIN).parent)
        path = f"{BIN}:{os.environ['PATH']}"
        self._environment = {"PATH": path, "HOME": str(folder), "PYTHONPATH": str(PROJECT)}
        self._shells = [Shell(folder, self._environment)]

    def type(self, command: str) -> str:
        """Return the output of a command, which must succeed. A job in the background writes to a log."""
        output, status = self._shells[0].type(re.sub(r" &\n$", " > ../worker.log 2>&1 &\n", command))
        assert status == 0, (command, output)
        return output

    def begin(self, command: str, last: str) -> None:
        """Type a command that goes on in the second terminal, and wait for a line that begins with `last`."""
        self._shells.append(Shell(Path(self.type("pwd").strip()), self._environment))
        self._shells[-1].begin(command, last)

    def close(self) -> None:
        for shell in reversed(self._shells):
            shell.close()


@pytest.fixture
def terminals(tmp_path: Path) -> Iterator[Terminals]:
    made = Terminals(tmp_path)
    yield made
    made.close()


def test_the_commands_of_the_readme(terminals: Terminals) -> None:
    """An execution that 1.0 accepted before the switch finishes on 1.0.

    The worker is stopped before the switch and killed after it, so only the worker of the last command can finish it.
    """
    [source] = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
    *before, last = steps()
    assert last[0].startswith("pipelines worker ")
    waiting: dict[str, Any] = {}
    for command, shown in before:
        if command.startswith("coordinator dev"):
            terminals.begin(command, "source ")
            continue
        if command.startswith("sed "):  # the switch begins
            written = terminals.type("cat orders.py\n").splitlines()
            assert [line for line in source.splitlines() if line not in written] == []
            terminals.type("first=$!; kill -STOP $first\n")
            waiting = json.loads(
                terminals.type(f"coordinator executions submit org.example.orders --input {ORDER} --output json\n")
            )
        output = terminals.type(command)
        if "…" not in shown and "{" in shown:
            assert json.loads(output[output.index("{") :]) == json.loads(shown[shown.index("{") :])
    terminals.type("kill -KILL $first; wait $first 2> ../killed || true\n")
    show = f"coordinator executions show {waiting['executionId']} --output json\n"
    status = json.loads(terminals.type(show))
    assert (status["status"] not in {"SUCCEEDED", "FAILED"}, status["pin"]["releaseVersion"]) == (True, "1.0")
    terminals.type(last[0])
    eventually(lambda: json.loads(terminals.type(show))["status"] == "SUCCEEDED", seconds=180, what="the end on 1.0")
    result = json.loads(terminals.type(f"coordinator executions result {waiting['executionId']}\n"))
    assert result == {"number": 3, "text": "1.00 to pay"}
    assert terminals.type("ls dist\n").split() == ["1.0", "2.0"]
