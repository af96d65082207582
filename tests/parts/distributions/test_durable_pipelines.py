"""The wheel of `durable-pipelines`, installed into an empty environment outside of the checkout."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from embedded.children import Child, free_port
from tests.building import eventually
from tests.parts.distributions import installing
from tests.unit.pipelines.worker.test_rest_host import EXECUTE, SECRET, command, payload, signed

FLOW = """
from dataclasses import dataclass

from pipelines import NonRetryable, Pipeline, StepContext


@dataclass
class Order:
    number: int


pipeline = Pipeline("org.acme.orders")


@pipeline.step
def double(order: Order, context: StepContext) -> Order:
    if order.number < 0:
        raise NonRetryable(f"attempt {context.attempt}: {order.number} is negative")
    return Order(2 * order.number)
"""
INSTALLED = """
import importlib.metadata, json
names = sorted(each.name.lower() for each in importlib.metadata.distributions())
files = [str(file) for file in importlib.metadata.files("durable-pipelines")]
print(json.dumps([names, files]))
"""
EVERY_MODULE = """
import importlib, pkgutil, pipelines, wire
for package in (pipelines, wire):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if module.name != "pipelines.worker.tracing":  # of the extra `tracing`
            importlib.import_module(module.name)
"""


@dataclass(frozen=True)
class Author:
    """An author's folder and the environment that has `durable-pipelines` installed."""

    folder: Path
    python: Path

    @property
    def pipelines(self) -> Path:
        return self.python.with_name("pipelines")


@pytest.fixture(scope="module")
def author(tmp_path_factory: pytest.TempPathFactory) -> Author:
    folder = tmp_path_factory.mktemp("author")
    wheel = installing.build_wheel("durable-pipelines", folder / "wheels")
    python = installing.empty_environment(folder / "environment")
    installing.install(python, [wheel])
    (folder / "flow.py").write_text(FLOW)
    return Author(folder, python)


def test_it_installs_what_its_modules_import_and_neither_django_nor_a_database_driver(author: Author) -> None:
    names, files = json.loads(installing.run([author.python, "-I", "-c", INSTALLED], author.folder))
    assert "durable-pipelines" in names
    assert not {"django", "djangorestframework", "psycopg", "psycopg-binary", "boto3", "durable-coordinator"} & {*names}
    installing.run([author.python, "-I", "-c", EVERY_MODULE], author.folder)
    assert {"pipelines/py.typed", "wire/py.typed", "wire/release/verification.py"} <= {*files}
    assert {file.partition("/")[0] for file in files if not file.startswith("..")} == {
        *("pipelines", "wire"),
        next(file for file in files if ".dist-info/" in file).partition("/")[0],
    }


def test_it_builds_releases_and_hosts_a_pipeline(author: Author) -> None:
    built = json.loads(installing.run([author.pipelines, "build", "flow:pipeline", "--json"], author.folder))
    released = json.loads(
        installing.run([author.pipelines, "release", "--release-version", "1.0", "--json"], author.folder)
    )
    assert (released["pipelineId"], released["contractVersion"]) == ("org.acme.orders", built["contractVersion"])
    (author.folder / "key").write_text(SECRET)
    port = free_port()
    worker = [
        *(author.pipelines, "worker", "--release", released["path"], "--tenant", "acme"),
        *("--protocol", "rest", "--bind", f"127.0.0.1:{port}", "--key-file", "key", "--payload-prefix", "flow"),
    ]
    pin = {name: released[name] for name in ("pipelineId", "contractVersion", "releaseVersion")}
    body = json.dumps(command(payload("flow.Order", {"number": 21}), **pin)).encode()

    def response() -> requests.Response | None:
        try:
            headers = signed("POST", EXECUTE, body)
            return requests.post(f"http://127.0.0.1:{port}{EXECUTE}", data=body, headers=headers, timeout=10)
        except requests.ConnectionError:
            assert child.running, child.log_tail()
            return None

    child = Child(
        worker,
        name="worker",
        log=author.folder / "log",
        environment=installing.environment(),
        directory=author.folder,
    )
    try:
        answered = eventually(response, what="the worker")
    finally:
        child.stop()
    assert answered.status_code == 200
    result = answered.json()
    assert result["outcome"] == "COMPLETED", result
    [output] = result["outputPayloads"]
    assert json.loads(output["payload"]) == {"number": 42}
