"""deploy/compose.yaml, read by Docker Compose: valid, and each service has only its secrets."""

import itertools
import json
import re
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from coordinator.run import command_of
from coordinator.settings import env
from embedded.product import PROJECT
from tests.docs.commands import fenced
from tests.parts.deploy.image_store import TOOLS

FILES = {
    "database": {"POSTGRES_PASSWORD"},
    "owner": {"DATABASE_URL"},
    "core": {"SECRET_KEY", "WORKER_SECRET", "DATABASE_URL", "REDIS_URL"},
    "web": {"PROVENANCE_KEY"},
}
HOST = "coordinator.example"
PROGRAM = TOOLS / "usr/libexec/docker/cli-plugins/docker-compose"
PROCESSES = ("web", "control", "clock")
MARK = "from-the-file"


@cache
def services() -> dict[str, Any]:
    """Return the services as Docker Compose understands them. Each value of a file of secrets is MARK and its name."""
    assert PROGRAM.exists(), "there is no docker-compose: .ci/install-deploy-tools unpacks it"
    with TemporaryDirectory() as folder:
        secrets = Path(folder) / "secrets"
        secrets.mkdir()
        (secrets / "broker.acl").touch()
        for name, variables in FILES.items():
            (secrets / f"{name}.env").write_text("".join(f"{each}={MARK} {name}\n" for each in variables))
        (Path(folder) / "compose.yaml").write_bytes((PROJECT / "deploy" / "compose.yaml").read_bytes())
        done = subprocess.run(
            [PROGRAM, "config", "--format=json"],
            cwd=folder,
            env={"COORDINATOR_HOST": HOST, "PATH": "/usr/bin"},
            capture_output=True,
            text=True,
        )
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)["services"]
    return found


def from_files(service: str) -> set[tuple[str, str]]:
    """Return the variables of a service that come from files of secrets, each with its file."""
    environment = services()[service].get("environment") or {}
    values = {name: str(value) for name, value in environment.items()}
    return {(name, value.removeprefix(f"{MARK} ")) for name, value in values.items() if value.startswith(MARK)}


def of(*files: str) -> set[tuple[str, str]]:
    return {(variable, name) for name in files for variable in FILES[name]}


def test_each_service_has_only_its_secrets() -> None:
    assert {name: from_files(name) for name in services()} == {
        "database": of("database"),
        "broker": set(),
        "migrate": of("owner"),
        "web": of("core", "web"),
        "control": of("core"),
        "clock": of("core"),
        "proxy": set(),
    }


def test_the_file_has_no_secret() -> None:
    for service in ("web", "control", "clock", "migrate"):
        written = set(services()[service]["environment"]) - {name for name, _ in from_files(service)}
        assert not {name for name in written if env.declared[name].secret}


@pytest.mark.parametrize("service", [*PROCESSES, "migrate"])
def test_every_variable_is_a_setting_and_none_is_missing(service: str) -> None:
    required = {name for name, variable in env.declared.items() if variable.default is None}
    if service == "migrate":
        required = {"DATABASE_URL"}
    assert required <= set(services()[service]["environment"]) <= set(env.declared)


@pytest.mark.parametrize("process", PROCESSES)
def test_each_process_has_its_command(process: str) -> None:
    run, *arguments = services()[process]["command"]
    assert (run, arguments) == ("run", [process])
    assert command_of(arguments)


@pytest.mark.parametrize("service", ["broker", "migrate", *PROCESSES])
def test_the_root_is_read_only_and_there_are_no_capabilities(service: str) -> None:
    found = services()[service]
    assert (found["read_only"], found["cap_drop"], found["security_opt"]) == (
        True,
        ["ALL"],
        ["no-new-privileges:true"],
    )
    assert found["user"] not in {"", "0", "root", "0:0"}


def test_only_the_proxy_is_reachable() -> None:
    assert [name for name, each in services().items() if each.get("ports")] == ["proxy"]
    assert set(services()["proxy"]["networks"]) == {"front", "outside"}
    assert "outside" not in services()["web"]["networks"]


def test_processes_start_after_the_migrations() -> None:
    for process in PROCESSES:
        assert services()[process]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"


def test_web_and_control_worker_share_the_artifact_store() -> None:
    for process in ("web", "control"):
        [volume] = services()[process]["volumes"]
        assert (volume["source"], volume["target"]) == ("artifacts", "/var/lib/coordinator")
        assert services()[process]["environment"]["ARTIFACT_ROOT"].startswith(volume["target"])


def test_the_documented_commands_have_their_options() -> None:
    documented = [command for command in fenced() if command.words[:2] == ("docker", "compose")]
    assert documented
    for command in documented:
        _, _, name, *words = command.words
        done = subprocess.run([PROGRAM, name, "--help"], capture_output=True, text=True, check=True)
        own = itertools.takewhile(lambda word: word not in services(), words)
        assert all(re.search(rf" {word}[ ,]", done.stdout) for word in own if word.startswith("-")), command


def test_a_missing_host_name_is_refused() -> None:
    command: list[str | Path] = [PROGRAM, "--file", PROJECT / "deploy" / "compose.yaml", "config"]
    done = subprocess.run(command, env={"PATH": "/usr/bin"}, capture_output=True, text=True)
    assert done.returncode != 0
    assert "set it to the public host name" in done.stderr
