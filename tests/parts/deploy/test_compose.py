"""deploy/compose.yaml, read by Docker Compose: valid, and each service has only its secrets."""

import json
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from coordinator.run import command_of
from coordinator.settings import env
from embedded.product import PROJECT
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
            (secrets / f"{name}.env").write_text("".join(f"{variable}={MARK} {name}\n" for variable in variables))
        (Path(folder) / "compose.yaml").write_bytes((PROJECT / "deploy" / "compose.yaml").read_bytes())
        done = subprocess.run(
            [PROGRAM, "config", "--format=json"],
            cwd=folder,
            env={"COORDINATOR_HOST": HOST, "PATH": "/usr/bin"},
            capture_output=True,
            text=True,
        )
    assert (done.returncode, done.stderr) == (0, "")
    described: dict[str, Any] = json.loads(done.stdout)["services"]
    return described


def from_files(service: str) -> set[tuple[str, str]]:
    environment = services()[service].get("environment") or {}
    values = {name: str(value) for name, value in environment.items()}
    return {(name, value.removeprefix(f"{MARK} ")) for name, value in values.items() if value.startswith(MARK)}


def variables_of(*files: str) -> set[tuple[str, str]]:
    return {(variable, name) for name in files for variable in FILES[name]}


def test_each_service_has_only_its_secrets() -> None:
    assert {name: from_files(name) for name in services()} == {
        "database": variables_of("database"),
        "broker": set(),
        "migrate": variables_of("owner"),
        "web": variables_of("core", "web"),
        "control": variables_of("core"),
        "clock": variables_of("core"),
        "proxy": set(),
    }


def test_each_process_has_its_command_and_its_settings_and_the_file_has_no_secret() -> None:
    required = {name for name, variable in env.declared.items() if variable.default is None}
    for service in (*PROCESSES, "migrate"):
        settings = set(services()[service]["environment"])
        assert ({"DATABASE_URL"} if service == "migrate" else required) <= settings <= set(env.declared), service
        written = settings - {name for name, _ in from_files(service)}
        assert not {name for name in written if env.declared[name].secret}, service
    for process in PROCESSES:
        assert services()[process]["command"] == ["run", process]
        assert command_of([process])


def test_a_process_has_a_read_only_root_and_no_rights_and_waits_for_the_migrations() -> None:
    for service in ("broker", "migrate", *PROCESSES):
        declared = services()[service]
        assert (declared["read_only"], declared["cap_drop"]) == (True, ["ALL"]), service
        assert declared["security_opt"] == ["no-new-privileges:true"], service
        assert declared["user"] not in {"", "0", "root", "0:0"}, service
    for process in PROCESSES:
        assert services()[process]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"


def test_only_the_proxy_is_reachable() -> None:
    assert [name for name, service in services().items() if service.get("ports")] == ["proxy"]
    assert set(services()["proxy"]["networks"]) == {"front", "outside"}
    assert "outside" not in services()["web"]["networks"]
