"""Runs the product of a checkout until standard input closes: `python -P FILE PIPELINE`, with PYTHONPATH as checkout.

The packages are those of the checkout, which may be older than this file. So this file uses only what all versions of
`benchmarks.product_under_test` have. It prints one line of JSON when the product runs and has a worker.
"""

import json
import sys

from benchmarks.product_under_test import ProductUnderTest


def main() -> None:
    with ProductUnderTest() as product:
        product.host(sys.argv[1])
        trees = {name: {"pid": child.pid, "guard_pid": child.guard_pid} for name, child in product.trees().items()}
        description = {
            "port": product.product.port,
            "token": product.token,
            "database_url": product.servers["DATABASE_OWNER_URL"],
            "trees": trees,
        }
        print(json.dumps(description), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
