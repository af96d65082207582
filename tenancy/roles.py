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
    VOTE = "releases:vote"
    ROLL_BACK = "releases:roll-back"
    AUDIT = "audit:read"
    ADMINISTER = "tenant:administer"


MEANING: dict[Scope, str] = {
    Scope.READ: "View pipelines, releases, executions and workers",
    Scope.PAYLOADS: "Read inputs, results, checkpoints, questions, answers, error messages and tracebacks",
    Scope.SUBMIT: "Submit executions",
    Scope.OPERATE: "Re-drive, resubmit, cancel and pause executions, and drain workers",
    Scope.ANSWER: "Answer the questions of executions",
    Scope.ARTIFACTS: "Download the stored bytes of artifacts",
    Scope.REGISTER: "Upload releases",
    Scope.ACTIVATE: "Activate, pause, retire and revoke releases",
    Scope.VOTE: "Vote on requests to activate releases",
    Scope.ROLL_BACK: "Roll back to an earlier release",
    Scope.AUDIT: "Read the audit log, the members and the list of API tokens",
    Scope.ADMINISTER: "Manage members, API tokens, trusted keys and policies",
}


class Role(Choices):
    VIEWER = "viewer", "Viewer"
    AUDITOR = "auditor", "Auditor"
    APPROVER = "approver", "Approver"
    OPERATOR = "operator", "Operator"
    ON_CALL = "on-call", "On-call"
    RELEASE_MANAGER = "release-manager", "Release manager"
    TENANT_ADMIN = "tenant-admin", "Tenant admin"


PURPOSE: dict[Role, str] = {
    Role.VIEWER: "Looks at everything but payloads, and changes nothing.",
    Role.AUDITOR: "Looks at everything, including payloads, members and the audit log, and changes nothing.",
    Role.APPROVER: "Answers questions, and votes on requests to activate releases.",
    Role.OPERATOR: "Submits, re-drives, cancels and pauses executions, and answers their questions.",
    Role.ON_CALL: "Does what an operator does, and can roll back to an earlier release.",
    Role.RELEASE_MANAGER: "Uploads and activates releases, votes on activations of others, and rolls back.",
    Role.TENANT_ADMIN: "Does everything in the tenant, and manages its members, API tokens, keys and policies.",
}
"""What each role is for, in one sentence."""

ALL_SCOPES = frozenset(Scope)  # a loop over an enumeration makes a call for each member
_VIEWS = frozenset({Scope.READ, Scope.ARTIFACTS})
_OPERATES = _VIEWS | {Scope.PAYLOADS, Scope.SUBMIT, Scope.OPERATE, Scope.ANSWER}
GRANTS: dict[Role, frozenset[Scope]] = {
    Role.VIEWER: _VIEWS,
    Role.AUDITOR: _VIEWS | {Scope.PAYLOADS, Scope.AUDIT},
    Role.APPROVER: _VIEWS | {Scope.ANSWER, Scope.VOTE},
    Role.OPERATOR: _OPERATES,
    Role.ON_CALL: _OPERATES | {Scope.ROLL_BACK},
    Role.RELEASE_MANAGER: _VIEWS | {Scope.PAYLOADS, Scope.REGISTER, Scope.ACTIVATE, Scope.VOTE, Scope.ROLL_BACK},
    Role.TENANT_ADMIN: ALL_SCOPES,
}

IMPLIED: dict[Scope, Scope] = {Scope.ACTIVATE: Scope.VOTE, Scope.ADMINISTER: Scope.AUDIT}
"""The scopes that a token has without naming them. Tokens that are older than these scopes keep what they allowed."""


def granted(roles: Iterable[str]) -> frozenset[Scope]:
    """Return the scopes that `roles` grant together."""
    return frozenset[Scope]().union(*(GRANTS[Role(role)] for role in roles))


def with_implied(scopes: Iterable[str]) -> frozenset[str]:
    """Return `scopes` with those that they imply. Unknown scopes imply nothing."""
    named = frozenset(scopes)
    return named | {implied for scope, implied in IMPLIED.items() if scope in named}


def roles_granting(scope: Scope) -> list[Role]:
    return [role for role, scopes in GRANTS.items() if scope in scopes]
