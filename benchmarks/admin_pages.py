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
    "palette, a value": "search/?q=c-471&part=1",
    "palette, a number": "search/?q=471&part=1",
    "palette, nothing": "search/?q=no-such-key&part=1",
    "search page": "search/?q=order-20",
    "active then": "releases/pipeline/active/?at=2026-01-01+14%3A00",
    "pipelines": "releases/pipeline/",
    "pipeline": "releases/pipeline/{pipeline_key}/change/",
    "pipeline health": "releases/pipeline/{pipeline_key}/health/",
    "comparison": "releases/pipeline/{pipeline_key}/compare/?from=1&to=5",
    "gradual activation": "releases/pipeline/{gradual}/change/",
    "releases": "releases/release/",
    "release": "releases/release/{release}/change/",
    "release status": "releases/release/{release}/status/",
    "active release": "releases/release/{active}/change/",
    "activate": "releases/release/{release}/activate/",
    "activation form": "releases/release/{release}/activate/form/",
    "roll back": "releases/pipeline/{rolled}/rollback/",
    "revoke": "releases/release/{bad}/revoke/",
    "retire": "releases/release/{release}/retire/",
    "recovery": "releases/release/{bad}/recovery/",
    "recovery proof": "releases/release/{bad}/recovery/proof/",
    "recovery record": "releases/release/{bad}/recovery/record/",
    "requests": "releases/activationrequest/",
    "request": "releases/activationrequest/{activationrequest}/change/",
    "request review": "releases/activationrequest/{activationrequest}/review/",
    "trusted keys": "releases/trustedkey/",
    "trusted key": "releases/trustedkey/{trustedkey}/change/",
    "trust a key": "releases/trustedkey/new/",
    "upload": "releases/release/upload/",
    "execution": LIST + "{done}/change/",
    "execution live": LIST + "{done}/live/",
    "execution provenance": LIST + "{done}/provenance/",
    "failed execution": LIST + "{dead}/change/",
    "payload": LIST + "{done}/payloads/input.json",
    "compare executions": LIST + "{done}/compare/?with={dead}",
    "re-drive": LIST + "{dead}/redrive/",
    "resubmit": LIST + "{dead}/resubmit/",
    "cancel": LIST + "{open}/cancel/",
    "failure groups": "executions/failuregroup/",
    "failure group": "executions/failuregroup/{group}/change/",
    "dead letters": "executions/deadletter/",
    "dead letters of an error": "executions/deadletter/?error=Error0",
    "dead letter": "executions/deadletter/{letter}/change/",
    "questions": "executions/interaction/",
    "question": "executions/interaction/{question}/change/",
    "question live": "executions/interaction/{question}/live/",
    "fleet": "executions/worker/fleet/",
    "workers": "executions/worker/",
    "worker": "executions/worker/{worker}/change/",
    "drain a worker": "executions/worker/{worker}/drain/",
    "campaigns": "executions/campaign/",
    "campaign": "executions/campaign/{campaign}/change/",
    "campaign live": "executions/campaign/{campaign}/live/",
    "campaign draft": "executions/campaign/{draft}/change/",
    "start a campaign": "executions/campaign/start/",
    "paused": "executions/hold/",
    "pause a pipeline": "executions/hold/pipeline/{pipeline_key}/pause/",
    "schedules": "executions/schedule/",
    "schedule": "executions/schedule/{schedule}/change/",
    "add a schedule": "executions/schedule/new/",
    "edit a schedule": "executions/schedule/{schedule}/edit/",
    "backfill a schedule": "executions/schedule/{schedule}/backfill/",
    "smoke tests": "executions/smoketest/",
    "start a smoke test": "executions/smoketest/release/{release}/new/",
    "audit log": "tenancy/auditentry/",
    "audit entry": "tenancy/auditentry/{auditentry}/change/",
    "tenants": "tenancy/tenant/",
    "tenant": "tenancy/tenant/{tenant}/change/",
    "worker key": "tenancy/tenant/{tenant}/worker-key/start/",
    "tokens": "tenancy/apitoken/",
    "token": "tenancy/apitoken/{token}/change/",
    "issue a token": "tenancy/apitoken/add/",
    "members": "tenancy/membership/",
    "member": "tenancy/membership/{membership}/change/",
    "add a member": "tenancy/membership/add/",
    "users": "auth/user/",
    "user": "auth/user/{user}/change/",
    "alerts": "alerts/alert/",
    "alert": "alerts/alert/{alert}/change/",
    "alert rules": "alerts/alertrule/",
    "alert rule": "alerts/alertrule/{alertrule}/change/",
    "edit an alert rule": "alerts/alertrule/{alertrule}/edit/",
    "alert channels": "alerts/alertchannel/",
    "alert channel": "alerts/alertchannel/{alertchannel}/change/",
    "status": "coordinator/process/",
    "account": "auth/user/account/",
}
_OBJECTS = """
SELECT p.pipeline_id AS pipeline, p.id AS pipeline_key, active.id AS active, newest.id AS release, done.id AS done,
    dead.id AS dead, l.id AS letter, l.group_id AS "group", p.tenant_id AS tenant,
    (SELECT id FROM auth_user WHERE is_superuser ORDER BY id LIMIT 1) AS "user",
    (SELECT id FROM executions_worker ORDER BY id LIMIT 1) AS worker,
    bad.pipeline_id AS rolled, bad.release_id AS bad,
    (SELECT pipeline_id FROM releases_gradualactivation ORDER BY id LIMIT 1) AS gradual,
    i.id AS question, i.execution_id AS open,
    (SELECT id FROM executions_campaign WHERE status = 'DRAFT' ORDER BY id LIMIT 1) AS draft,
    (SELECT id FROM executions_campaign WHERE status <> 'DRAFT' ORDER BY id LIMIT 1) AS campaign,
    (SELECT digest FROM tenancy_apitoken ORDER BY created LIMIT 1) AS token,
    (SELECT id FROM releases_activationrequest ORDER BY id DESC LIMIT 1) AS activationrequest,
    (SELECT id FROM releases_trustedkey ORDER BY id DESC LIMIT 1) AS trustedkey,
    (SELECT id FROM executions_schedule ORDER BY id DESC LIMIT 1) AS schedule,
    (SELECT id FROM tenancy_auditentry ORDER BY id DESC LIMIT 1) AS auditentry,
    (SELECT id FROM tenancy_membership ORDER BY id DESC LIMIT 1) AS membership,
    (SELECT id FROM alerts_alert ORDER BY id DESC LIMIT 1) AS alert,
    (SELECT id FROM alerts_alertrule ORDER BY id DESC LIMIT 1) AS alertrule,
    (SELECT id FROM alerts_alertchannel ORDER BY id DESC LIMIT 1) AS alertchannel
FROM releases_pipeline p
JOIN releases_release active ON active.pipeline_id = p.id AND active.release_version = '1'
JOIN releases_release newest ON newest.pipeline_id = p.id AND newest.release_version = '5'
JOIN executions_execution done ON done.pipeline_id = p.pipeline_id AND done.execution_key = 'order-10'
JOIN executions_execution dead ON dead.pipeline_id = p.pipeline_id AND dead.execution_key = 'order-20'
JOIN executions_deadletter l ON l.execution_id = dead.id
JOIN LATERAL (SELECT id, execution_id FROM executions_interaction o WHERE o.tenant_id = p.tenant_id
    AND o.status IN ('WAITING', 'DISPATCHING', 'DISPATCHED') ORDER BY created_at DESC LIMIT 1) i ON true
JOIN LATERAL (SELECT a.pipeline_id, a.release_id FROM releases_activation a JOIN releases_pipeline o
    ON o.activation_id = a.id WHERE o.tenant_id = p.tenant_id ORDER BY a.sequence DESC, a.id LIMIT 1) bad ON true
WHERE p.pipeline_id = %s
"""


def addresses(connection: psycopg.Connection, pipeline_id: str) -> dict[str, str]:
    """Return the address of each page below `/admin/`, by name.

    The pages show rows of this pipeline: its releases 1 and 5, its executions order-10 and the failed order-20. `bad`
    is the active release of the pipeline of its tenant with the most activations, `rolled`. Other objects are any.
    """
    cursor = connection.execute(_OBJECTS.encode(), [pipeline_id])
    row, names = cursor.fetchone(), [column.name for column in cursor.description or ()]
    if row is None:
        raise RuntimeError("The rows that the pages show are missing.")
    objects: dict[str, Any] = dict(zip(names, row, strict=True))
    searches = {f"executions, {name}" if name else "executions": f"{LIST}?{query}" for name, query in FILTERS.items()}
    return {name: address.format(**objects) for name, address in {**PAGES, **searches}.items()}
