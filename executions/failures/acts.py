"""What people decide about a group of failures: they acknowledge it, assign it, and write a note."""

import uuid
from typing import Any

from django.contrib.postgres.functions import TransactionNow as Now
from django.db import transaction

from executions.errors import AssigneeInvalid
from executions.failures import queries
from executions.models import FailureGroup
from tenancy import audit, members
from tenancy.access import actor_named
from tenancy.audit.acts import Act
from tenancy.models import Tenant
from tenancy.roles import Scope


def change(
    tenant: Tenant,
    group_id: uuid.UUID,
    *,
    actor: str,
    acknowledged: bool | None = None,
    assignee: str | None = None,
    note: str | None = None,
) -> FailureGroup:
    """Acknowledge, assign or annotate a group, and return it. What is None stays. If nothing changes, no entry is made.

    `acknowledged` False withdraws the acknowledgement. `assignee` is the user name of a person who may operate in the
    tenant, or "". The lock does not delay failures of the group.

    Raises `FailureGroupUnknown` and `AssigneeInvalid`.
    """
    with transaction.atomic():
        locked = FailureGroup.objects.filter(tenant=tenant, pk=group_id).select_for_update(no_key=True).first()
        group = locked or queries.group(tenant, group_id)
        changes: dict[str, Any] = {}
        if acknowledged is not None and acknowledged is group.is_new:
            changes["acknowledged"] = acknowledged
        if assignee is not None and assignee != group.assignee:
            _require_operator(tenant, assignee, actor)
            changes["assignee"] = assignee
        if note is not None and note != group.note:
            changes["note"] = note
        if changes:
            _write(group, actor, changes)
            audit.record(
                Act.FAILURE_GROUP_CHANGE,
                tenant=tenant,
                actor=actor,
                object_type="failure_group",
                object=group_id,
                errorCode=group.error_code,
                **changes,
            )
        return queries.group(tenant, group_id)


def _write(group: FailureGroup, actor: str, changes: dict[str, Any]) -> None:
    columns = {name: value for name, value in changes.items() if name != "acknowledged"}
    if "acknowledged" in changes:
        columns |= (
            {"acknowledged_by": actor, "acknowledged_at": Now()}
            if changes["acknowledged"]
            else {"acknowledged_by": "", "acknowledged_at": None}
        )
    FailureGroup.objects.filter(pk=group.pk).update(**columns)


def _require_operator(tenant: Tenant, username: str, actor: str) -> None:
    """Refuse superusers who are not members, except the actor: others must not learn their names."""
    if not username or actor == actor_named(username):
        return
    if not members.holds(tenant, username, Scope.OPERATE):
        raise AssigneeInvalid(f"{username!r} may not operate in tenant {tenant.slug!r}.", assignee=username)
