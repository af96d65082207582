"""Reads holds. The caller has checked access to the tenant."""

from django.db.models import Exists, OuterRef, Q, QuerySet

from executions.models import Execution, Hold
from executions.models.states import State
from releases.models import Release
from tenancy.models import Tenant

# Nothing of such an execution is left to do, so its hold has no effect. It is removed with the execution.
_OVER = (State.SUCCEEDED.value, State.CANCELLED.value)


def open_holds(tenant: Tenant) -> QuerySet[Hold]:
    """Return the tenant's open holds, newest first, without those of executions that succeeded or were cancelled."""
    rows = Hold.objects.filter(tenant=tenant, ended_at=None).exclude(execution__status__in=_OVER)
    rows = rows.select_related("tenant", "execution", "pipeline", "release__pipeline")
    return rows.defer("execution__input", "execution__result", "execution__progress").order_by("-started_at", "-id")


def holds_of(execution: Execution) -> list[Hold]:
    """Return the open holds that keep an execution from being claimed: its own, its release's and its pipeline's."""
    if execution.status in _OVER:
        return []
    return list(_open(Q(execution=execution) | _of(execution.release)))


def holds_of_release(release: Release) -> list[Hold]:
    """Return the open holds of a release and of its pipeline, the oldest first."""
    return list(_open(_of(release)))


def refusing(release: Release) -> Hold | None:
    """Return the oldest open hold of a release or its pipeline that refuses submissions, or None."""
    return _open(_of(release)).filter(refuses_submissions=True).first()


def accepting(rows: QuerySet[Release]) -> QuerySet[Release]:
    """Return the releases among `rows` for which `refusing` returns None."""
    targets = Q(release=OuterRef("pk")) | Q(pipeline=OuterRef("pipeline_id"))
    return rows.filter(~Exists(_open(targets).filter(refuses_submissions=True)))


def _of(release: Release) -> Q:
    return Q(release=release) | Q(pipeline=release.pipeline_id)


def _open(targets: Q) -> QuerySet[Hold]:
    return Hold.objects.filter(targets, ended_at=None).order_by("started_at", "id")
