"""A supervisor for the tests to kill: real servers and a child with a grandchild; prints a line once all run.

`supervisor.py FOLDER` reads and writes the servers, prints the URLs as JSON, and then sleeps until it is
killed.
"""

import json
import signal
import sys
import time
from pathlib import Path

import psycopg

from embedded.backing import Backing
from embedded.children import Children


def main(folder: Path) -> None:
    """Start everything and wait."""
    # Where the tests run in the background, whoever started them may have had these ignored from the start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with Backing(folder, outside={}) as backing, Children(folder) as children:
        # The second sleeper is a daemon: its own session, and its parent ends at once.
        children.start("sleeper", ["sh", "-c", "setsid -f sleep 600; sleep 600 & sleep 600"])
        urls = backing.environment()
        with psycopg.connect(urls["DATABASE_URL"]) as connection:
            connection.execute("SELECT 1")
            print(json.dumps(urls), flush=True)
            time.sleep(600)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
