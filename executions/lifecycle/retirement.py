"""The executions and campaigns that still need a release."""

from django.db import connection

from executions.lifecycle import statements
from releases.activation.retirement import Blocker, Kind
from releases.models import Release

STATUSES = {
    "QUEUED": Kind.QUEUED,
    "RUNNING": Kind.RUNNING,
    "WAIT_RETRY": Kind.RETRYING,
    "WAITING_EXTERNAL": Kind.WAITING,
    "FAILED": Kind.FAILED,
    "DLQ": Kind.DEAD_LETTERED,
    "CAMPAIGN": Kind.CAMPAIGN,
}


def blockers(release: Release) -> list[Blocker]:
    """Return the open executions, the failures and the unfinished campaigns of a release, all from one snapshot.

    A failure counts until retention removes it, because it can be re-driven until then. A failed smoke test does not
    count. A campaign counts while it has an execution of the release that it has yet to re-drive.
    """
    parameters = {"release": release.pk, "tenant": release.pipeline.tenant_id}
    with connection.cursor() as cursor:
        cursor.execute(statements.COUNT_BLOCKERS, parameters)
        counts = dict(cursor.fetchall())
    return [Blocker(kind, counts[name]) for name, kind in STATUSES.items() if counts.get(name)]
