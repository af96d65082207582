"""Measures everything in this process: `python -m benchmarks.costs.measure FOLDER`. Prints a JSON document."""

import json
import os
import sys
from pathlib import Path

from benchmarks.costs.calls import CallCounter

calls = CallCounter()

import django

django.setup()

from django.db import connections

from benchmarks.costs.servers import Servers

servers = Servers(os.environ["COSTS_DATABASE_URL"], os.environ["COSTS_REDIS_URL"])
for settings in connections.settings.values():
    settings["CONN_MAX_AGE"] = None  # a new connection in the middle would count

from benchmarks.costs import kinds
from benchmarks.costs.measuring import Meter
from benchmarks.costs.world import World
from coordinator.celery import app
from executions.workers.registry import DISPATCH_TASK
from foundation.wakeups import wakeup

if __name__ == "__main__":
    chosen = sys.argv[2:]
    app.loader.import_default_modules()
    world = World(Path(sys.argv[1]))
    wakeup.handle_here(DISPATCH_TASK, lambda: None)  # claims and sending are measured separately
    servers.connection.execute("VACUUM ANALYZE")
    meter = Meter(calls, servers)
    figures: dict[str, dict[str, int]] = {}
    for work in kinds.all_kinds(world):
        if not chosen or any(part in work.name for part in chosen):
            figures |= meter.measure(work)
    json.dump(figures, sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # threads of the product wait for its end
