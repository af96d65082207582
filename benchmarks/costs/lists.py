"""Requests to lists, reports and exports, of a tenant and of a person with many tenants."""

from typing import Final

API: Final = {
    **{
        f"executions, {query or 'newest'}": f"executions?pageSize=50&{query}"
        for query in (
            "",
            "releaseVersion=nope",
            "releaseVersion=2",
            "stepIndex=109",
            "stepIndex=1",
            "stepIndex=0",
            "submittedBy=user:ann",
            "submittedBy=user:eva",
            "submittedBy=token:none",
            "smoke=true",
            "smoke=false",
            "finishedFrom={soon}",
            "finishedFrom={early}",
            "createdTo={early}",
            "idempotencyKey=order-500",
            "idempotencyKey=nope",
            "pipelineId=benchmarks.asking",
            "pipelineId=nope",
            "errorCode=Error0",
            "errorCode=none",
            "tag=order-500",
            "tag=customer-7",
            "prefix={some}",
            "prefix=order-50",
            "prefix=nope",
            "failureGroupId={group}",
            "status=SUCCEEDED",
            "status=RUNNING",
            "status=WAITING_EXTERNAL",
            "status=QUEUED",
            "status=DLQ",
            "resubmittedFrom={some}",
            "parentExecutionId={parent}",
        )
    },
    **{
        query: query
        for query in (
            "questions",
            "questions?status=pending",
            "questions?status=pending&assignee=nobody",
            "questions?pipelineId=nope",
            "dead-letters",
            "dead-letters?releaseVersion=2",
            "dead-letters?releaseVersion=9",
            "dead-letters?errorCode=nope",
            "dead-letters?failureGroupId={group}",
            "failure-groups",
            "failure-groups?new=false",
            "failure-groups/{group}",
            "audit",
            "audit?object=benchmarks.one-step/1",
            "audit?object=nope",
            "audit?outcome=failed",
            "audit?outcome=denied",
            "audit?from={soon}",
            "audit?to={early}",
            "audit?act=release.activate",
            "audit?act=execution.cancel",
            "audit?actor=user:nobody",
            "audit/export?format=ndjson&outcome=failed",
            "audit/export?format=ndjson&to={early}",
            "workers",
            "worker-plan",
            "stranded",
            "holds",
            "campaigns",
            "drift",
            "pipelines",
            "alerts",
            "status",
            "executions/{some}",
            "executions/{some}/events",
            "pipelines/benchmarks.three-steps/releases/5/preflight",
            "pipelines/benchmarks.three-steps/drift",
        )
    },
}
"""Requests to the API of the largest tenant, by name."""
PREVIEWS: Final = {
    "preview of a campaign by error": {"errorCode": "Error0"},
    "preview of a campaign by pipeline": {"pipelineId": "benchmarks.three-steps"},
    "preview of a campaign by release": {"releaseVersion": "2"},
}
"""The filters of previews, by name."""
ADMIN: Final = {
    address: address
    for address in (
        "",
        "executions/execution/?q={some}",
        "executions/execution/?by=user:eva",
        "executions/execution/export/csv/?status=failed&columns=id,step&since=1d",
        "executions/interaction/?claim=mine",
        "executions/interaction/?status=all",
        "executions/interaction/?q={some}",
        "executions/deadletter/?release=2",
        "executions/deadletter/?release=9",
        "executions/deadletter/?error=none",
        "tenancy/auditentry/?object=benchmarks.one-step/1",
        "tenancy/auditentry/?outcome=failed",
        "tenancy/auditentry/?outcome=failed&tenant=bench",
        "tenancy/auditentry/?from={soon}",
        "tenancy/auditentry/?to={early}",
        "tenancy/auditentry/?to={early}&tenant=bench",
        "tenancy/auditentry/?actor=none",
        "tenancy/auditentry/?act=execution.cancel",
        "tenancy/auditentry/?request=request-500",
        "tenancy/auditentry/export/csv/?outcome=failed",
    )
}
"""Pages of the admin below `/admin/`, besides those of `benchmarks.admin_pages`."""
