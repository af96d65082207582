"""Roles and scopes. A membership's role grants scopes, and the roles of a user add up. A token has a list of scopes."""

from collections.abc import Iterable
from enum import StrEnum

from foundation.choices import Choices


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


MEANING: dict[Scope, str] = {
    Scope.READ: "View pipelines, releases, executions and workers",
    Scope.PAYLOADS: "Read inputs, results, checkpoints, questions, answers, error messages and tracebacks",
    Scope.SUBMIT: "Submit executions",
    Scope.OPERATE: "Re-drive, resubmit, cancel and pause executions, and drain workers",
    Scope.ANSWER: "Answer the questions of executions",
    Scope.ARTIFACTS: "Download the stored bytes of artifacts",
    Scope.REGISTER: "Upload releases",
    Scope.ACTIVATE: "Activate, pause, retire and revoke releases, and vote on requests",
    Scope.ROLL_BACK: "Roll back to an earlier release",
    Scope.ADMINISTER: "Manage members, API tokens, trusted keys and policies, and read the audit log",
}


class Role(Choices):
    VIEWER = "viewer", "Viewer"
    OPERATOR = "operator", "Operator"
    ON_CALL = "on-call", "On-call"
    RELEASE_MANAGER = "release-manager", "Release manager"
    TENANT_ADMIN = "tenant-admin", "Tenant admin"


PURPOSE: dict[Role, str] = {
    Role.VIEWER: "Looks at everything but payloads, and changes nothing.",
    Role.OPERATOR: "Submits, re-drives, cancels and pauses executions, and answers their questions.",
    Role.ON_CALL: "Does what an operator does, and can roll back to an earlier release.",
    Role.RELEASE_MANAGER: "Uploads and activates releases, and rolls back.",
    Role.TENANT_ADMIN: "Does everything in the tenant, and manages its members, API tokens, keys and policies.",
}
"""What each role is for, in one sentence."""

ALL_SCOPES = frozenset(Scope)  # a loop over an enumeration makes a call for each member
_VIEWS = frozenset({Scope.READ, Scope.ARTIFACTS})
_OPERATES = _VIEWS | {Scope.PAYLOADS, Scope.SUBMIT, Scope.OPERATE, Scope.ANSWER}
GRANTS: dict[Role, frozenset[Scope]] = {
    Role.VIEWER: _VIEWS,
    Role.OPERATOR: _OPERATES,
    Role.ON_CALL: _OPERATES | {Scope.ROLL_BACK},
    Role.RELEASE_MANAGER: _VIEWS | {Scope.PAYLOADS, Scope.REGISTER, Scope.ACTIVATE, Scope.ROLL_BACK},
    Role.TENANT_ADMIN: ALL_SCOPES,
}


def granted(roles: Iterable[str]) -> frozenset[Scope]:
    """Return the scopes that `roles` grant together."""
    return frozenset[Scope]().union(*(GRANTS[Role(role)] for role in roles))


def roles_granting(scope: Scope) -> list[Role]:
    return [role for role, scopes in GRANTS.items() if scope in scopes]
