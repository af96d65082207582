"""Real servers for every test. Loaded with `-p`, since pytest-django reads the settings before any conftest.

All processes of a run share one PostgreSQL and one Valkey, with a separate database for each process in both.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from embedded.product import for_tests
from tests import transaction_calls

for_tests()
NUMBER = os.environ.get("PYTEST_XDIST_WORKER", "gw15").removeprefix("gw")
# The artifact store syncs each file. This takes milliseconds on a disk and almost no time in memory.
MEMORY = Path("/dev/shm")
REQUIRED_BYTES = 4 * 2**30
IN_MEMORY = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > REQUIRED_BYTES
FOLDER = tempfile.mkdtemp(prefix="coordinator-tests-", dir=MEMORY if IN_MEMORY else None)
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)

ORDINARY_URL = os.environ.setdefault("TEST_ORDINARY_URL", os.environ["DATABASE_URL"])
os.environ |= {
    # Tests create and migrate databases, so they connect as the owner. The processes that they start do not.
    "DATABASE_URL": os.environ["DATABASE_OWNER_URL"],
    **{
        name: urlunsplit(urlsplit(os.environ[name])._replace(path=f"/{NUMBER}"))
        for name in ("REDIS_URL", "REDIS_OWNER_URL")
        if name in os.environ
    },
    "SECRET_KEY": "a-key-that-only-tests-use-0123456789abcdef",
    "WORKER_SECRET": "a-secret-that-only-tests-use-0123456789abcdef",
    "ARTIFACT_ROOT": f"{FOLDER}/artifacts",
    "STATIC_ROOT": f"{FOLDER}/static",
    "HTTPS_ONLY": "false",
    transaction_calls.FILE: f"{FOLDER}/transaction-calls",
}


def ordinary_url(database: str) -> str:
    """Return the URL of this database for the application role, as the product's processes use it."""
    return urlunsplit(urlsplit(ORDINARY_URL)._replace(path=f"/{database}"))
