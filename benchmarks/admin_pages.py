"""The pages of the admin, and the searches in its list of executions."""

from typing import Any, Final

import psycopg

LIST: Final = "executions/execution/"
FILTERS: Final = {
    "": "",
    "page 5": "p=5",
    "oldest page": "until=29d",
    "live": "status=live",
    "failed": "status=failed",
    "succeeded": "status=SUCCEEDED",
    "cancelled": "status=CANCELLED",
    "waiting": "status=WAITING_EXTERNAL",
    "pipeline": "pipeline={pipeline}",
    "release": "release=5",
    "old release": "release=1",
    "error": "error=Error0",
    "step": "step=1",
    "since": "since=7d",
    "ended": "ended=7d",
    "failed and ended": "status=failed&ended=29d",
    "rare tag": "tag=order-500",
    "tag": "tag=customer-7",
    "common tag": "tag=region-1",
    "smoke tests": "smoke=yes",
    "no smoke tests": "smoke=no",
    "by": "by=token:shop-1",
    "by me": "by=me&since=7d",
    "stranded": "stranded=yes",
    "key": "q=order-20",
    "beginning of the keys": "q=order-",
    "id": "q={dead}",
    "nothing": "q=no-such-key",
    "three conditions": "status=failed&error=Error0&release=3",
    "all columns": "columns=key,status,error,step,duration,release,tags",
}
"""Searches in the list of executions, by name. The last one comes last because the list remembers its columns."""
PAGES: Final = {
    "overview": "",
    "palette": "search/?q=order-20&part=1",
    "pipelines": "releases/pipeline/",
    "pipeline": "releases/pipeline/{pipeline_key}/change/",
    "pipeline health": "releases/pipeline/{pipeline_key}/health/",
    "comparison": "releases/pipeline/{pipeline_key}/compare/?from=1&to=5",
    "releases": "releases/release/",
    "release": "releases/release/{release}/change/",
    "active release": "releases/release/{active}/change/",
    "activate": "releases/release/{release}/activate/",
    "activation form": "releases/release/{release}/activate/form/",
    "roll back": "releases/pipeline/{pipeline_key}/rollback/",
    "requests": "releases/activationrequest/",
    "trusted keys": "releases/trustedkey/",
    "upload": "releases/release/upload/",
    "execution": LIST + "{done}/change/",
    "execution live": LIST + "{done}/live/",
    "failed execution": LIST + "{dead}/change/",
    "payload": LIST + "{done}/payloads/input.json",
    "compare executions": LIST + "{done}/compare/?with={dead}",
    "re-drive": LIST + "{dead}/redrive/",
    "resubmit": LIST + "{dead}/resubmit/",
    "failure groups": "executions/failuregroup/",
    "failure group": "executions/failuregroup/{group}/change/",
    "dead letters": "executions/deadletter/",
    "dead letters of an error": "executions/deadletter/?error=Error0",
    "dead letter": "executions/deadletter/{letter}/change/",
    "questions": "executions/interaction/",
    "workers": "executions/worker/",
    "worker": "executions/worker/{worker}/change/",
    "campaigns": "executions/campaign/",
    "start a campaign": "executions/campaign/start/",
    "paused": "executions/hold/",
    "smoke tests": "executions/smoketest/",
    "audit log": "tenancy/auditentry/",
    "tenants": "tenancy/tenant/",
    "tokens": "tenancy/apitoken/",
    "members": "tenancy/membership/",
    "users": "auth/user/",
    "alerts": "alerts/alert/",
    "alert rules": "alerts/alertrule/",
    "alert channels": "alerts/alertchannel/",
    "status": "coordinator/process/",
    "account": "auth/user/account/",
}
_OBJECTS = """
SELECT p.pipeline_id AS pipeline, p.id AS pipeline_key, active.id AS active, newest.id AS release, done.id AS done,
    dead.id AS dead, l.id AS letter, l.group_id AS "group", w.id AS worker
FROM releases_pipeline p
JOIN releases_release active ON active.pipeline_id = p.id AND active.release_version = '1'
JOIN releases_release newest ON newest.pipeline_id = p.id AND newest.release_version = '5'
JOIN executions_execution done ON done.pipeline_id = p.pipeline_id AND done.execution_key = 'order-10'
JOIN executions_execution dead ON dead.pipeline_id = p.pipeline_id AND dead.execution_key = 'order-20'
JOIN executions_deadletter l ON l.execution_id = dead.id
CROSS JOIN executions_worker w WHERE p.pipeline_id = %s ORDER BY w.id LIMIT 1
"""


def addresses(connection: psycopg.Connection, pipeline_id: str) -> dict[str, str]:
    """Return the address of each page below `/admin/`, by name.

    The pages show rows of this pipeline: its releases 1 and 5, its executions order-10 and the failed order-20.
    """
    cursor = connection.execute(_OBJECTS.encode(), [pipeline_id])
    row, names = cursor.fetchone(), [column.name for column in cursor.description or ()]
    if row is None:
        raise RuntimeError("The rows that the pages show are missing.")
    objects: dict[str, Any] = dict(zip(names, row, strict=True))
    searches = {f"executions, {name}" if name else "executions": f"{LIST}?{query}" for name, query in FILTERS.items()}
    return {name: address.format(**objects) for name, address in {**PAGES, **searches}.items()}
