import secrets
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import connection

from governance.requests.requests import Decision, ask, vote
from releases import policy, queries
from releases.models import ActivationRequest, Pipeline, Release
from tenancy.models import Membership, Tenant
from tenancy.roles import Role
from tests import making
from tests.raw_sql import unguarded


def person(owner: Tenant, role: Role = Role.RELEASE_MANAGER) -> User:
    user = User.objects.create_user(f"person-{secrets.token_hex(5)}")
    Membership.objects.create(user=user, tenant=owner, role=role)
    return user


def candidate(approvals: int = 1, version: str = "2.0", owner: Tenant | None = None) -> Release:
    """Return a registered release of a pipeline whose active release is 1.0, and whose policy needs the approvals."""
    owner = owner or making.tenant()
    making.active(owner, "1.0")
    making.registered(owner, version)
    policy.change(read(owner), {"approvals": approvals}, actor="user:admin")
    return queries.release(read(owner), version)


def read(owner: Tenant) -> Pipeline:
    return queries.pipeline(owner, making.PIPELINE)


def open_request(release: Release, requester: User | None = None, **more: Any) -> ActivationRequest:
    """Return a new request of a new release manager, by default."""
    requester = requester or person(release.pipeline.tenant)
    return ask(release, requester=requester, **{"actor": f"user:{requester.username}", "reason": "faster", **more})


def voted(
    request: ActivationRequest, voter: User | None = None, decision: Decision = Decision.APPROVE, **more: Any
) -> ActivationRequest:
    """Vote in the round that `request` shows, as a new release manager by default."""
    voter = voter or person(request.release.pipeline.tenant)
    more = {"round_number": request.round, **more}
    return vote(request, voter=voter, actor=f"user:{voter.username}", decision=decision, **more)


def active(release: Release) -> str | None:
    activation = read(release.pipeline.tenant).activation
    return activation.release.release_version if activation else None


def soon() -> datetime:
    return datetime.now().astimezone() + timedelta(hours=1)


def let_pass(request: ActivationRequest, hours: float) -> None:
    """Make the request older, as if time had passed."""
    columns = ("created_at", "expires_at", "activate_at", "status_changed_at")
    changes = ", ".join(f"{column} = {column} - %(time)s::interval" for column in columns)
    with unguarded(ActivationRequest), connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE releases_activationrequest SET {changes} WHERE id = %(id)s",
            {"time": f"{hours} hours", "id": str(request.pk)},
        )
    request.refresh_from_db()
