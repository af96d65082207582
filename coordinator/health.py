"""Health endpoints of the web process, for load balancers and operators."""

import hashlib
import logging
import threading
from collections.abc import Callable

from django.db import Error, OperationalError, connections
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from coordinator import boot_checks, request_slots
from foundation.broker_gate import gate
from releases.artifacts.store import artifact_store

log = logging.getLogger(__name__)
# Load balancers wait for a response for a second or two. A part that takes longer than this is reported as DOWN.
CHECK_TIMEOUT = 0.5  # seconds
NO_BLOB = f"sha256:{hashlib.sha256(b'no such blob').hexdigest()}"


class _Attempt(threading.Thread):
    def __init__(self, check: Callable[[], object]) -> None:
        super().__init__(name="health", daemon=True)
        self._check = check
        self.passed = False

    def run(self) -> None:
        try:
            self._check()
        except Exception:
            log.exception("A health check failed")
        else:
            self.passed = True


class Check:
    """Runs `check` in a thread. One attempt runs at a time, and concurrent callers share its result."""

    def __init__(self, check: Callable[[], object]) -> None:
        self._check = check
        self._lock = threading.Lock()
        self._attempt: _Attempt | None = None

    def status(self) -> str:
        """UP, or DOWN if the check raises anything or takes longer than CHECK_TIMEOUT."""
        with self._lock:
            if self._attempt is None or not self._attempt.is_alive():
                self._attempt = _Attempt(self._check)
                self._attempt.start()
            attempt = self._attempt
        attempt.join(CHECK_TIMEOUT)
        return "UP" if attempt.passed else "DOWN"


# The message is a write that changes no table. Its commit waits for the disk and for synchronous standbys.
_WRITE = """
SELECT current_setting('transaction_read_only') = 'on', pg_logical_emit_message(true, 'coordinator', 'ready')
"""


def _commit() -> None:
    """Commit a write that changes nothing, on a new connection: an existing one does not show that another can open.

    While a synchronous standby is silent, the attempt waits in this thread, and later callers get DOWN.
    """
    connection = connections.create_connection("default")
    try:
        with connection.cursor() as cursor:
            cursor.execute(_WRITE)
            [read_only, _] = cursor.fetchone()
    finally:
        connection.close()
    if read_only:
        raise OperationalError("The database is read-only.")


def _require_migrations() -> None:
    """Raise if the database says that it lacks migrations. Once it has all of them, it is not asked again."""
    if _migrated.is_set():
        return
    connection = connections.create_connection("default")
    try:
        missing = boot_checks.pending(connection)
    except Error:  # the check of the database reports it
        return
    finally:
        connection.close()
    if missing:
        log.error("%s", boot_checks.described(missing))
        raise RuntimeError
    _migrated.set()


def _reach_broker() -> None:
    if not gate.probe():
        raise ConnectionError


def _reach_store() -> None:
    artifact_store().stat(NO_BLOB)


_migrated = threading.Event()
database, broker, store = Check(_commit), Check(_reach_broker), Check(_reach_store)
migrations = Check(_require_migrations)


@require_safe
def live(request: HttpRequest) -> JsonResponse:
    """Respond with 503 if all slots of the process have been taken by the same requests for LIVENESS_SECONDS."""
    if not request_slots.liveness.is_alive():
        return JsonResponse({"status": "DOWN"}, status=503)
    return JsonResponse({"status": "UP"})


@require_safe
def ready(request: HttpRequest) -> JsonResponse:
    """Respond with 503 if the database does not commit a write within CHECK_TIMEOUT or lacks migrations, else with 200.

    Without the database, no request can be served. Failures of the broker and the artifact store are reported, and the
    status remains. Without the broker, work is delayed. Without the store, uploads fail. All other requests succeed.
    """
    parts = {"database": database.status(), "migrations": migrations.status()}
    status = "UP" if set(parts.values()) == {"UP"} else "DOWN"
    parts |= {"broker": broker.status(), "artifactStore": store.status()}
    return JsonResponse({"status": status, **parts}, status=200 if status == "UP" else 503)
