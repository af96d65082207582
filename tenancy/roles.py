"""Roles and scopes. A membership's role grants scopes, and the roles of a user add up. A token has a list of scopes."""

from collections.abc import Iterable
from enum import StrEnum

from django.db import models


class Scope(StrEnum):
    """A permission inside a tenant.

    Payloads are what pipelines work with: inputs, results, checkpoints, questions and their answers, and the messages
    and tracebacks of errors.
    """

    READ = "read"
    PAYLOADS = "payloads:read"
    SUBMIT = "executions:submit"
    OPERATE = "executions:operate"
    ANSWER = "interactions:complete"
    ARTIFACTS = "artifacts:read"
    REGISTER = "releases:register"
    ACTIVATE = "releases:activate"
    ROLL_BACK = "releases:roll-back"
    ADMINISTER = "tenant:administer"


class Role(models.TextChoices):
    VIEWER = "viewer", "Viewer"
    OPERATOR = "operator", "Operator"
    ON_CALL = "on-call", "On-call"
    RELEASE_MANAGER = "release-manager", "Release manager"
    TENANT_ADMIN = "tenant-admin", "Tenant admin"


GRANTS: dict[Role, frozenset[Scope]] = {
    Role.VIEWER: frozenset({Scope.READ, Scope.ARTIFACTS}),
    Role.OPERATOR: frozenset(
        {Scope.READ, Scope.PAYLOADS, Scope.ARTIFACTS, Scope.SUBMIT, Scope.OPERATE, Scope.ANSWER},
    ),
    Role.ON_CALL: frozenset(
        {Scope.READ, Scope.PAYLOADS, Scope.ARTIFACTS, Scope.SUBMIT, Scope.OPERATE, Scope.ANSWER, Scope.ROLL_BACK},
    ),
    Role.RELEASE_MANAGER: frozenset(
        {Scope.READ, Scope.PAYLOADS, Scope.ARTIFACTS, Scope.REGISTER, Scope.ACTIVATE, Scope.ROLL_BACK},
    ),
    Role.TENANT_ADMIN: frozenset(Scope),
}


def granted(roles: Iterable[str]) -> frozenset[Scope]:
    """Return the scopes that `roles` grant together."""
    return frozenset[Scope]().union(*(GRANTS[Role(role)] for role in roles))


def roles_granting(scope: Scope) -> list[Role]:
    return [role for role, scopes in GRANTS.items() if scope in scopes]
