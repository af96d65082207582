"""`coordinator list_accepted`: what was accepted since a time, such as the recovery point of a failover."""

import json
from argparse import ArgumentTypeError
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from executions.models import Execution
from foundation.database.bounded import in_chunks
from foundation.moments import TIME_RULE, read_time
from tenancy.models import Tenant

ROWS = 1000


class Command(BaseCommand):
    help = (
        "Print the executions that were accepted since a time, one line of JSON each. What a former primary lists and"
        " the present one does not was lost, and is to be submitted again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--since", type=_time, required=True, help="such as 2026-11-30T06:00:00Z")
        parser.add_argument("--tenant", help="only this tenant")

    def handle(self, *args: Any, since: datetime, tenant: str | None, **options: Any) -> None:
        for owner in Tenant.objects.filter(**{"slug": tenant} if tenant else {}).order_by("slug"):
            rows = Execution.objects.filter(tenant=owner, created_at__gte=since).order_by("created_at", "pk")
            for row in in_chunks(
                rows.only("pipeline_id", "release_version", "execution_key", "submitted_by", "created_at"), ROWS
            ):
                members = {
                    "tenant": owner.slug,
                    "pipelineId": row.pipeline_id,
                    "idempotencyKey": row.execution_key,
                    "executionId": str(row.pk),
                    "releaseVersion": row.release_version,
                    "submittedBy": row.submitted_by,
                    "acceptedAt": row.created_at.isoformat(),
                }
                self.stdout.write(json.dumps(members))


def _time(text: str) -> datetime:
    try:
        return read_time(text)
    except (ValueError, OverflowError):
        raise ArgumentTypeError(TIME_RULE) from None
