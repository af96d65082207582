"""The wheel of `durable-pipelines` in an empty environment, and environments that `pipelines env sync` makes."""

import json
import subprocess
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from tests.parts.distributions import installing
from tests.wheels import write_wheel

INSTALLED = """
import importlib.metadata, json
names = sorted(each.name.lower() for each in importlib.metadata.distributions())
files = [str(file) for file in importlib.metadata.files("durable-pipelines")]
print(json.dumps([names, files]))
"""
EVERY_MODULE = """
import importlib, pkgutil, coordinator_client, pipelines, wire
for package in (coordinator_client, pipelines, wire):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if module.name != "pipelines.worker.tracing":  # of the extra `tracing`
            importlib.import_module(module.name)
"""


PRICES = """
import rates
from pipelines import Pipeline

pipeline = Pipeline("org.acme.prices")

@pipeline.step
def price(amount: int) -> int:
    return amount * rates.RATE
"""
START = """
import json, sys
from pathlib import Path
from pipelines.worker.hosted_release import host_artifact
hosted = host_artifact(Path(sys.argv[1]), "acme", allow_drift=len(sys.argv) > 2)
environment = hosted.environment
print(json.dumps([hosted.code, environment.durable_pipelines, environment.differences, environment.fingerprint]))
"""


class Host:
    """An author's environment with `durable-pipelines` and a library, and the release that was built in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wheels = folder / "wheels"
        self.wheel = wheel = installing.build_wheel("durable-pipelines", self.wheels)
        library = write_wheel(self.wheels, "rates", "1.0", {"rates.py": "RATE = 2\n"})
        self.python = installing.empty_environment(folder / "author")
        installing.install(self.python, [wheel, library])
        (folder / "flow.py").write_text(PRICES)
        self.run(self.python, "-m", "pipelines", "release", "flow:pipeline", "--release-version=1.0")
        self.release = folder / "dist/1.0/pipeline-release.json"

    def run(self, python: Path, *arguments: str | Path) -> str:
        return installing.run([python, *arguments], self.folder)

    def start(self, python: Path, *allow_drift: str) -> list[Any]:
        """Return the origin of the code, the version of the library, the differences and the fingerprint."""
        started: list[Any] = json.loads(self.run(python, "-c", START, self.release, *allow_drift))
        return started

    def sync(self, target: Path, python: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python or self.python, "-m", "pipelines", "env", "sync", target, "--release", self.release, "--json"],
            cwd=self.folder,
            env={
                **installing.environment(),
                "PATH": f"{installing.uv().parent}:/usr/bin:/bin",
                "UV_FIND_LINKS": str(self.wheels),
                "UV_PYTHON_DOWNLOADS": "never",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    return Host(tmp_path_factory.mktemp("host"))


def test_it_installs_what_its_modules_import_and_neither_django_nor_a_database_driver(host: Host) -> None:
    names, files = json.loads(host.run(host.python, "-I", "-c", INSTALLED))
    assert "durable-pipelines" in names
    assert not {"django", "djangorestframework", "psycopg", "psycopg-binary", "boto3", "durable-coordinator"} & {*names}
    host.run(host.python, "-I", "-c", EVERY_MODULE)
    assert {
        "pipelines/py.typed",
        "coordinator_client/operations.json",
        "wire/py.typed",
        "wire/release/verification.py",
    } <= {*files}
    assert {file.partition("/")[0] for file in files if not file.startswith("..")} == {
        "coordinator_client",
        "pipelines",
        "wire",
        next(file for file in files if ".dist-info/" in file).partition("/")[0],
    }


def test_it_writes_a_project_and_runs_it(host: Host) -> None:
    pipelines = host.python.with_name("pipelines")
    installing.run([pipelines, "new", "bills"], host.folder)
    printed = installing.run([pipelines, "run", "bills.py", "--input=order.json"], host.folder / "bills")
    assert json.loads(printed) == {"number": 1, "text": "9.90 to pay"}


def test_a_worker_starts_in_the_environment_that_was_made_for_its_release(host: Host) -> None:
    made = host.sync(host.folder / "made")
    assert (made.returncode, made.stderr) == (0, "")
    assert json.loads(made.stdout)["path"] == str(host.folder / "made")
    started = host.start(host.folder / "made/bin/python")
    assert started[:3] == ["artifact", "0.1.0", []]
    assert started == host.start(host.python), "the author's environment is in another folder"


def test_after_an_upgrade_a_release_gets_the_later_library_with_what_that_requires(host: Host) -> None:
    python, target = installing.empty_environment(host.folder / "upgraded"), host.folder / "renewed"
    installing.install(python, [host.wheel])
    with ZipFile(host.wheel) as wheel:
        code = {name: wheel.read(name).decode() for name in wheel.namelist() if ".dist-info/" not in name}
    for version, name, differences in (("0.2.0", "more", []), ("0.3.0", "rates", ["rates is 2.0, required is 1.0"])):
        write_wheel(host.wheels, name, "2.0")
        later = write_wheel(host.wheels, "durable_pipelines", version, code, requires=[f"{name}>=2"])
        installing.install(python, [later], f"--find-links={host.wheels}")
        made = host.sync(target, python)
        assert (made.returncode, made.stderr.count("durable-pipelines needs it")) == (0, len(differences))
        assert host.start(target / "bin/python", "allow")[1:3] == [version, differences]


def test_a_changed_environment_differs_until_it_is_synchronised(host: Host) -> None:
    python = host.folder / "changed/bin/python"
    host.sync(host.folder / "changed")
    before = host.start(python)
    other = write_wheel(host.folder / "other", "rates", "2.0", {"rates.py": "RATE = 3\n"})
    installing.install(python, [other, write_wheel(host.folder / "other", "more", "1.0")])
    *_, differences, after = host.start(python, "allow")
    assert differences == ["rates is 2.0, required is 1.0", "more 1.0 is installed, but not required"]
    assert after != before[-1]
    with pytest.raises(AssertionError, match=r"ENVIRONMENT_DRIFT: .*rates is 2\.0, required is 1\.0"):
        host.start(python)
    host.sync(host.folder / "changed")
    assert host.start(python) == before
