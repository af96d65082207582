"""Carries out approved requests: activates exactly what was approved, or starts it gradually, at its time.

A request has at most one activation, and both are written in one transaction. So a call that died is repeated by the
next clock task, and concurrent calls activate once.
"""

import logging
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.db import DatabaseError, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from foundation.database.postgresql.outage import is_outage
from foundation.errors import CoordinatorError
from governance.activation import activation
from governance.gradual import changes
from governance.gradual.plan import Plan
from governance.requests import states
from releases.models import Activation, ActivationRequest, Kind, Pipeline
from releases.states import RequestStatus
from tenancy import access
from tenancy.audit.acts import Act
from tenancy.roles import Scope

log = logging.getLogger(__name__)


def carry_out(request: ActivationRequest) -> ActivationRequest:
    """Activate the release if the request is APPROVED and its time has come. Return the request as it is then.

    A request with a plan starts a gradual activation of the release instead.

    Every gate is judged again. If one is unmet, or if what was approved has moved, the request is FAILED and says why.
    It stays APPROVED if the artifact store does not respond.
    """
    found = _due().filter(pk=request.pk).select_related("release__pipeline__tenant", "requester", "base").first()
    if found is not None:
        try:
            _activate(found)
        except CoordinatorError as refusal:
            _refused(found, refusal)
    request.refresh_from_db()
    return request


def carry_out_due(group: int = 100) -> int:
    """Carry out the requests whose time has come, in groups. Return how many of them are ACTIVATED then.

    If one cannot be carried out, the error is logged, and the others are still carried out.
    """
    activated, tried = 0, set[UUID]()
    while True:
        with transaction.atomic():
            # Another process carries out those that it has locked.
            rows = _due().order_by("activate_at", "created_at").select_for_update(skip_locked=True)
            due = list((rows.exclude(pk__in=tried) if tried else rows)[:group])
        tried |= {request.pk for request in due}
        for request in due:
            try:
                activated += carry_out(request).status == RequestStatus.ACTIVATED
            except DatabaseError as error:
                if is_outage(error):
                    raise
                log.exception("The activation request %s could not be carried out", request.pk)
        if len(due) < group:
            return activated


def _due() -> QuerySet[ActivationRequest]:
    now = Q(activate_at=None) | Q(activate_at__lte=Now())
    return ActivationRequest.objects.filter(now, status=RequestStatus.APPROVED)


def _require_standing(request: ActivationRequest) -> None:
    if not access.may(request.requester, request.release.pipeline.tenant, Scope.ACTIVATE):
        name = access.actor(request.requester)
        raise access.ScopeMissing(f"{name}, who made the request, no longer holds the scope {Scope.ACTIVATE.value!r}.")


def _activate(request: ActivationRequest) -> None:
    def require_approved(_pipeline: Pipeline, _kind: Kind) -> None:
        """The request may have been withdrawn since it was read, and the requester may have lost the right."""
        locked = ActivationRequest.objects.select_for_update().get(pk=request.pk)
        if locked.status != RequestStatus.APPROVED:
            raise states.not_open(locked)
        _require_standing(locked)

    def complete(_made: Activation) -> None:
        states.move(request, RequestStatus.ACTIVATED)

    how: dict[str, Any] = {
        "actor": request.actor,
        "reason": request.reason,
        "request": request,
        "rule": require_approved,
        "complete": complete,
    }
    if request.plan is None:
        activation.activate(request.release, **how)
    else:
        changes.start(request.release, Plan.from_json(**request.plan), **how)


def _refused(request: ActivationRequest, refusal: CoordinatorError) -> None:
    if refusal.status == HTTPStatus.SERVICE_UNAVAILABLE:
        log.warning("The activation request %s cannot be carried out yet: %s", request.pk, refusal.detail)
        return
    with transaction.atomic():
        _, locked = states.lock(request)
        if locked.status == RequestStatus.APPROVED:
            detail = refusal.detail[: states.LONGEST_DETAIL]
            states.move(locked, RequestStatus.FAILED, code=refusal.code, detail=detail)
            states.record(Act.ACTIVATION_REQUEST_FAIL, locked, states.COORDINATOR, detail, code=refusal.code)
