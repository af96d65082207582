"""Starts a process of the product, and prints how many modules of each package it has loaded when it is ready.

`python -m benchmarks.costs.start PROGRAM ARGUMENT…`, where PROGRAM is `web`, `coordinator` or `pipelines`.
"""

import json
import os
import sys
from collections import Counter
from importlib import import_module
from typing import Any

from benchmarks.costs.calls import ALL, OURS, package_of


def _print_modules(**_: Any) -> None:
    modules = Counter(package_of(name) for name in list(sys.modules))
    for ours in OURS:
        modules.pop(ours, None)
    print("\n" + json.dumps({**modules, ALL: modules.total()}), file=sys.__stdout__, flush=True)  # Celery replaces it
    os._exit(0)


def _start(program: str) -> None:
    if program == "web":
        import coordinator.wsgi  # noqa: F401 - what each web process imports

        _print_modules()
    from celery import signals

    signals.worker_ready.connect(_print_modules, weak=False)
    signals.beat_init.connect(_print_modules, weak=False)
    module = import_module("pipelines.cli" if program == "pipelines" else "coordinator.cli")
    sys.exit(module.main())


if __name__ == "__main__":
    program = sys.argv.pop(1)
    _start(program)
