"""Counts all kinds of work in this process, and prints the figures as JSON.

`python -m benchmarks.costs.measure FOLDER [PART…]`. A separate process, because the product reads its settings once.
Releases are built in FOLDER. With PARTs, only kinds of work are counted whose names contain one of them.
"""

import gc
import json
import os
import sys
from itertools import chain
from pathlib import Path

from benchmarks.costs.calls import CallCounter

calls = CallCounter()  # before any thread starts

import django

django.setup()

from django.db import connections

from benchmarks.costs.servers import Servers
from foundation.database import prepared

servers = Servers(os.environ["COSTS_DATABASE_URL"], os.environ["COSTS_REDIS_URL"])
for database in connections.settings.values():
    database["CONN_MAX_AGE"] = None  # no connection is replaced in the middle
prepared.KEPT_SECONDS = 10**6  # nor a plan

from benchmarks.costs import kinds, pages
from benchmarks.costs.measuring import Meter
from benchmarks.costs.world import World
from coordinator.celery import app


def main(folder: Path, parts: list[str]) -> None:
    app.loader.import_default_modules()
    world = World(folder)
    meter = Meter(calls, servers, world.refresh)
    gc.freeze()
    figures: dict[str, dict[str, int]] = {}
    for work in chain(kinds.all_kinds(world), pages.all_pages(world, servers.connection)):
        if not parts or any(part in work.name for part in parts):
            figures |= meter.measure(work)
    json.dump(figures, sys.stdout)
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
    os._exit(0)  # do not wait for threads
