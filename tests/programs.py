import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from embedded.product import PROJECT


def output_of(
    command: Sequence[str | Path],
    cwd: Path = PROJECT,
    env: Mapping[str, str] | None = None,
    sent: str | None = None,
    seconds: float | None = None,
) -> str:
    """Return what a command prints. Fails the test with all that it says if its status is not 0."""
    done = subprocess.run(command, cwd=cwd, env=env, input=sent, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}{done.stderr}"
    return done.stdout
