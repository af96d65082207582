"""Roles and scopes. A membership's role grants scopes. A token has a list of scopes."""

from enum import StrEnum

from django.db import models


class Scope(StrEnum):
    """A permission inside a tenant."""

    READ = "read"
    SUBMIT = "executions:submit"
    OPERATE = "executions:operate"
    ANSWER = "interactions:complete"
    ARTIFACTS = "artifacts:read"
    REGISTER = "releases:register"
    ACTIVATE = "releases:activate"
    ADMINISTER = "tenant:administer"


class Role(models.TextChoices):
    VIEWER = "viewer", "Viewer"
    OPERATOR = "operator", "Operator"
    RELEASE_MANAGER = "release-manager", "Release manager"
    TENANT_ADMIN = "tenant-admin", "Tenant admin"


GRANTS: dict[Role, frozenset[Scope]] = {
    Role.VIEWER: frozenset({Scope.READ, Scope.ARTIFACTS}),
    Role.OPERATOR: frozenset({Scope.READ, Scope.ARTIFACTS, Scope.SUBMIT, Scope.OPERATE, Scope.ANSWER}),
    Role.RELEASE_MANAGER: frozenset({Scope.READ, Scope.ARTIFACTS, Scope.REGISTER, Scope.ACTIVATE}),
    Role.TENANT_ADMIN: frozenset(Scope),
}


def roles_granting(scope: Scope) -> list[Role]:
    return [role for role, scopes in GRANTS.items() if scope in scopes]
