"""How the policy of a pipeline is changed."""

import logging
from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction

from foundation.database.postgresql.outage import violated_constraint
from releases import queries
from releases.errors import PolicyInvalid
from releases.models import Pipeline
from releases.models.pipeline import MEMBERS
from tenancy import audit
from tenancy.audit.acts import Act

log = logging.getLogger(__name__)

_MEMBERS = {member.name: member for member in MEMBERS}


def change(pipeline: Pipeline, changes: Mapping[str, Any], *, actor: str) -> Pipeline:
    """Change the members of the policy that `changes` names, and return the changed pipeline.

    The policy applies from the next verification, submission, activation, answer, failure, end and claim on. Raises
    `PolicyInvalid` with all errors, and then changes nothing.
    """
    errors = []
    for name, value in changes.items():
        wrong = _MEMBERS[name].wrong(value) if name in _MEMBERS else "is not a member of a policy"
        if wrong:
            errors.append({"field": name, "code": "POLICY", "message": wrong})
    if errors:
        raise _invalid(errors)
    columns = {name: _MEMBERS[name].column for name in changes}
    if changes:
        with transaction.atomic():
            before = Pipeline.objects.select_for_update().get(pk=pipeline.pk)
            _update(pipeline, {columns[name]: value for name, value in changes.items()})
            audit.record(
                Act.POLICY_CHANGE,
                tenant=pipeline.tenant,
                actor=actor,
                object_type="pipeline",
                object=pipeline.pipeline_id,
                before={name: getattr(before, column) for name, column in columns.items()},
                after=dict(changes),
            )
        log.info("%s changed the policy of %s %r: %s", actor, pipeline.tenant, pipeline.pipeline_id, dict(changes))
    return queries.pipeline(pipeline.tenant, pipeline.pipeline_id)


def _update(pipeline: Pipeline, values: Mapping[str, Any]) -> None:
    """Write the values. The database knows the channels, which belong to `alerts` above."""
    try:
        with transaction.atomic():
            Pipeline.objects.filter(pk=pipeline.pk).update(**values)
    except IntegrityError as error:
        if violated_constraint(error) != "pipeline_notify_channel_known":
            raise
        message = "must be the name of an enabled channel"
        raise _invalid([{"field": "notifyChannel", "code": "POLICY", "message": message}]) from None


def _invalid(errors: list[dict[str, str]]) -> PolicyInvalid:
    detail = "; ".join(f"{error['field']}: {error['message']}" for error in errors)
    return PolicyInvalid(detail, errors=errors)
