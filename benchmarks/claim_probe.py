"""Claims what is due again and again, as the control worker does, and gives it back each time.

A process of its own with the product's settings: `python -m benchmarks.claim_probe TIMES LIMIT`. Prints the seconds
of each claim, and how many executions each claimed at least.
"""

import json
import sys
import time

import django

django.setup()

from django.db import transaction

from executions import moves

WARM_UP = 5


def claims(times: int, limit: int) -> dict[str, object]:
    taken, least = [], limit
    for _ in range(times + WARM_UP):
        with transaction.atomic():
            began = time.perf_counter()
            # What has not beaten for so long may well stand still on purpose.
            found = moves.claim(owner="benchmarks", limit=limit, lease_seconds=30, stale_seconds=3600)
            taken.append(time.perf_counter() - began)
            transaction.set_rollback(True)
        least = min(least, len(found))
    return {"seconds": taken[WARM_UP:], "least": least}


if __name__ == "__main__":
    json.dump(claims(int(sys.argv[1]), int(sys.argv[2])), sys.stdout)
