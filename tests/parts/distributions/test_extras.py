"""The product without its extras `azure`, `gcs` and `tracing`."""

import json
import subprocess
import sys

from embedded.product import PROJECT

PROGRAM = """
import importlib, json, pkgutil, sys
from importlib.abc import MetaPathFinder

import django

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"azure", "google", "opentelemetry"}:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Absent())
django.setup()
missing = {}
packages = ("coordinator", "interop", "alerts", "executions", "releases", "tenancy", "foundation", "pipelines", "wire")
for package in map(importlib.import_module, packages):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.endswith(("__main__", ".wsgi")) and ".migrations." not in module.name:
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                missing[module.name] = error.name.partition(".")[0]
print(json.dumps(missing))
"""


def test_only_the_modules_of_an_extra_need_its_packages() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=120
    )
    assert json.loads(done.stdout) == {
        "foundation.telemetry.spans": "opentelemetry",
        "pipelines.worker.tracing": "opentelemetry",
        "releases.artifacts.store.azure": "azure",
        "releases.artifacts.store.google": "google",
    }
