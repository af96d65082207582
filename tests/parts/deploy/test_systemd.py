"""deploy/systemd: units that systemd accepts, in a tight sandbox, each with only its secrets."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from embedded.product import PROJECT

UNITS = sorted((PROJECT / "deploy" / "systemd").glob("*.service"))
NAMES = [unit.name for unit in UNITS]
SECRETS = {
    "coordinator-web.service": ["/etc/coordinator/core.env", "-/etc/coordinator/web.env"],
    "coordinator-control.service": ["/etc/coordinator/core.env", "-/etc/coordinator/control.env"],
    "coordinator-clock.service": ["/etc/coordinator/core.env"],
    "coordinator-migrate.service": ["/etc/coordinator/owner.env"],
    "coordinator-worker@.service": ["/etc/coordinator/workers/%i/worker.env"],
}
MOST_EXPOSED = 2.0


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    assert program, "there is no systemd-analyze; on Debian: apt-get install systemd"
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60)


def values(unit: Path, name: str) -> list[str]:
    return [line.split("=", 1)[1] for line in unit.read_text().splitlines() if line.startswith(f"{name}=")]


@pytest.mark.parametrize("unit", UNITS, ids=NAMES)
def test_systemd_accepts_the_unit(unit: Path, tmp_path: Path) -> None:
    # The programs are not installed here.
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE)
    copy = tmp_path / unit.name.replace("@.", "@orders.")
    copy.write_text(text)
    done = analyze("verify", "--man=no", "--recursive-errors=no", copy)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=NAMES)
def test_the_unit_is_hardly_exposed(unit: Path) -> None:
    done = analyze("security", "--offline=yes", "--no-pager", unit)
    match = re.search(r"Overall exposure level for .*: ([0-9.]+)", done.stdout)
    assert match, done.stdout + done.stderr
    assert float(match[1]) < MOST_EXPOSED


def test_every_unit_runs_its_process_and_reads_only_its_secrets() -> None:
    assert {unit.name: values(unit, "EnvironmentFile") for unit in UNITS} == SECRETS
    for process in ("web", "control", "clock"):
        started = values(PROJECT / "deploy" / "systemd" / f"coordinator-{process}.service", "ExecStart")
        assert started == [f"/opt/coordinator/bin/coordinator run {process}"]


def test_verifications_may_lower_their_priority() -> None:
    """The clock and the web process may not: they start no verification."""
    for process, denied in (("control", False), ("web", True), ("clock", True)):
        filters = values(PROJECT / "deploy" / "systemd" / f"coordinator-{process}.service", "SystemCallFilter")
        assert ("@resources" in filters[1]) == denied
