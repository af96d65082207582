"""A supervisor for the tests to kill. It runs the servers, and a child with descendants.

`supervisor.py FOLDER` prints the URLs of the servers as JSON when all run, and then sleeps until it is killed.
"""

import json
import sys
import time
from pathlib import Path

import psycopg

from embedded.children import Children
from embedded.product import Backing


def main(folder: Path) -> None:
    """Start the servers and the child, and sleep."""
    with Backing(folder, outside={}) as backing, Children(folder) as children:
        # The first sleeper is a daemon: it has a separate session, and its parent ends at once.
        children.start("sleeper", ["sh", "-c", "setsid -f sleep 600; sleep 600 & sleep 600"])
        urls = backing.environment()
        with psycopg.connect(urls["DATABASE_URL"]) as connection:
            connection.execute("SELECT 1")
            print(json.dumps(urls), flush=True)
            time.sleep(600)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
