import os
import signal
import subprocess
from pathlib import Path


class Shell:
    """A terminal in which a person types one command after the other. Errors are part of the output."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            # A shell that runs the tests in the background makes its children ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def type(self, command: str) -> tuple[str, int]:
        """Return the output and the status of a command that ends."""
        *lines, end = self.begin(f"{command}\nprintf '\\nEND %s\\n' $?", "END ")
        return "".join(lines).removesuffix("\n"), int(end.split()[1])

    def begin(self, command: str, last: str) -> list[str]:
        """Type a command. Return its output up to a line that begins with `last`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        said = []
        for line in self._process.stdout:
            said.append(line)
            if line.startswith(last):
                return said
        raise AssertionError(f"the shell has ended: {''.join(said)}")

    def interrupt(self) -> None:
        """Press Ctrl-C, after which the command ends well."""
        os.killpg(self._process.pid, signal.SIGINT)
        assert self.type("")[1] == 0

    def close(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        with self._process:
            pass
