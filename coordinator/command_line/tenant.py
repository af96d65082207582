"""`coordinator keys`, `members`, `alerts` and `audit`, and the commands without a noun that show the tenant."""

import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from coordinator.command_line.commands import Call, Noun, public_key, root
from coordinator.command_line.output import Form
from coordinator.command_line.session import CommandError, Exit, Session, exit_of
from coordinator.command_line.texts import member
from coordinator_client.api import Request, items_of, path
from coordinator_client.errors import ClientError, Refused

MOST_COUNTED = 1000

keys = Noun("keys", "List, add and revoke trusted keys.")
keys.listing(
    "list",
    "GET trusted-keys",
    "KEY keyId, NAME name, BY addedBy, ADDED addedAt, REVOKED revocation.revokedAt",
    "List the trusted keys, including revoked ones, newest first.",
    limit=100,
)


@keys.changing("add")
def add_key(
    session: Session,
    name: Annotated[str, typer.Argument(help="A name for people.", show_default=False)],
    file: Annotated[Path, typer.Argument(help="The public key, in PEM form.", show_default=False)],
) -> None:
    """Trust the signatures of a key."""
    body = {"name": name, "publicKey": public_key(file)}
    session.act(Request("POST", "trusted-keys", body=body), f"Trust the key in {file} as {name}?")


keys.acting(
    "revoke",
    "POST trusted-keys/{key_id}/revoke",
    "Trust the signatures of a key no longer. This needs a reason.",
    "Revoke the key {key} permanently?",
)

members = Noun("members", "List the members of the tenant, give and take roles, and set groups.")
members.listing(
    "list",
    "GET members",
    "USER username, NAME name, ROLE role, GROUPS groups, ACTIVE active",
    "List the members, a row for each role.",
    limit=500,
)
members.acting(
    "add",
    "POST members",
    "Give a person a role. The token must allow everything that the role allows.",
    "Give {user} the role {role}?",
    arguments=["username", "role"],
)
members.acting(
    "remove",
    "POST members/remove",
    "Take a role from a person.",
    "Take the role {role} from {user}?",
    arguments=["username", "role"],
)


members.acting(
    "end-sessions",
    "POST members/end-sessions",
    "End the sessions of a person in the console. It has no effect on people with roles in other tenants.",
    "End the sessions of {user}?",
    arguments=["username"],
)


@members.changing("groups")
def set_groups(
    session: Session,
    user: Annotated[str, typer.Argument(help="The name with which the person logs in.", show_default=False)],
    groups: Annotated[list[str] | None, typer.Argument(help="All groups of the person.", show_default=False)] = None,
) -> None:
    """Replace the groups of a person. Without groups, remove the person from all."""
    body = {"username": user, "groups": groups or []}
    shown = ", ".join(groups or []) or "none"
    session.act(Request("POST", "members/groups", body=body), f"Set the groups of {user} to: {shown}?")


invitations = Noun("invitations", "Invite people by e-mail, and list, send again and withdraw invitations.")
invitations.listing(
    "list",
    "GET invitations",
    "INVITATION invitationId, EMAIL email, STATUS status, MAIL mail, ROLES roles, BY invitedBy, EXPIRES expiresAt",
    "List the invitations of the tenant, newest first.",
    limit=100,
)


@invitations.changing("add")
def invite(
    session: Session,
    email: Annotated[str, typer.Argument(help="The address of the person.", show_default=False)],
    roles: Annotated[list[str], typer.Argument(help="The roles that the person gets.", show_default=False)],
    group: Annotated[list[str] | None, typer.Option(help="A group that the person gets; repeat it.")] = None,
) -> None:
    """Invite a person by e-mail. The token must allow everything that the roles allow."""
    body = {"email": email, "roles": roles, "groups": group or []}
    session.act(Request("POST", "invitations", body=body), f"Invite {email} as {', '.join(roles)}?")


invitations.acting(
    "send",
    "POST invitations/{invitation_id}/send",
    "Send a new link, which replaces the former one.",
    "Send a new link for the invitation {invitation}?",
)
invitations.acting(
    "withdraw",
    "POST invitations/{invitation_id}/withdraw",
    "End an open invitation. Its link stops working.",
    "Withdraw the invitation {invitation}?",
)

alerts = Noun(
    "alerts", "List and silence alerts, and send test messages. `coordinator apply` changes rules and channels."
)
alerts.listing(
    "list",
    "GET alerts",
    "ALERT alertId, STATE state, RULE ruleName, SUBJECT subject, TITLE title, STARTED startedAt, "
    "SILENCED UNTIL silencedUntil",
    "List alerts, newest first.",
    defaults={"state": "FIRING"},
)
alerts.showing("show", "GET alerts/{alert_id}", "Show an alert with its events and its newest messages.")
alerts.acting("silence", "POST alerts/{alert_id}/silence", "Send no messages about a firing alert until a time.")
alerts.listing(
    "rules",
    "GET alert-rules",
    "RULE ruleId, NAME name, KIND kind, THRESHOLDS thresholds, PIPELINE pipelineId, ENABLED enabled, "
    "SILENCED UNTIL silencedUntil",
    "List the rules of the tenant.",
    limit=100,
)
alerts.listing(
    "channels",
    "GET alert-channels",
    "CHANNEL channelId, NAME name, KIND kind, ADDRESS address, ENABLED enabled",
    "List the channels to which messages of alerts go.",
    limit=100,
)
alerts.acting("test", "POST alert-channels/{channel_id}/test", "Send a test message to a channel.")

audit = Noun("audit", "Read and export the audit log.")
audit.listing(
    "list",
    "GET audit",
    "# sequence, AT at, BY actor, ACT act, OBJECT object, OUTCOME outcome, REASON reason",
    "List the entries of the audit log, newest first.",
)


@audit.reading("export", "GET audit/export", watch=False, defaults={"format": "ndjson"})
def export(
    session: Session,
    call: Call,
    out: Annotated[Path | None, typer.Option(help="The file to write. Default: stdout.")] = None,
) -> None:
    """Write the entries of the audit log to a file, oldest first, with the hashes of their chain.

    `coordinator verify_audit`, on a host of the coordinator, verifies the chain.
    """
    if out is None:
        if sys.stdout.isatty():
            raise CommandError("an export is not for a terminal; give --out FILE, or redirect stdout")
        session.client.download(call.request, sys.stdout.buffer.write)
        sys.stdout.buffer.flush()
        return
    partial = out.with_name(f"{out.name}.partial")
    try:
        with partial.open("wb") as file:
            session.client.download(call.request, file.write)
        partial.replace(out)
    except OSError as error:
        raise CommandError(f"{out} cannot be written: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)


@root.reading("status")
def status(session: Session) -> int:
    """Show the health of the coordinator, and what needs attention in the tenant.

    The status is 1 if a part is down, a kind of process is missing, migrations are pending, outcomes are read late, or
    work is stranded.
    """
    health = session.client.ready()
    states = Counter(str(worker.get("state")) for worker in session.client.pages("workers", {}, MOST_COUNTED))
    lost = items_of(session.client.get("stranded"))
    shown: dict[str, Any] = {
        "coordinator": health,
        "processes": _processes(session),
        "workers": dict(sorted(states.items())),
        "stranded": sum(release["executions"] for release in lost if isinstance(release.get("executions"), int)),
        "pauses": len(list(session.client.pages("holds", {}, MOST_COUNTED))),
        "drift": len(items_of(session.client.get("drift"))),
    }
    session.output.document({name: value for name, value in shown.items() if value is not None})
    down = any(part != "UP" for part in health.values())
    lacking = [member(shown["processes"], name) for name in ("missing", "pendingMigrations", "outcomeDelaySeconds")]
    return Exit.NEGATIVE if down or lost or any(lacking) else Exit.OK


def _processes(session: Session) -> Any:
    """Return what the coordinator knows about its processes; None if it, or the token, does not tell."""
    try:
        return session.client.get("status")
    except ClientError as error:
        if isinstance(error, Refused) and exit_of(error) not in {Exit.NOT_FOUND, Exit.DENIED}:
            raise
        return None


@root.reading("fleet")
def fleet(session: Session) -> int:
    """List the releases that need workers or have some, and how to start one. The status is 1 if a release is stalled.

    `stalledByVersion`: work waits for a worker of its release, while workers of other versions run.
    """
    releases = items_of(session.client.get("fleet"))
    session.output.items(
        "PIPELINE pin.pipelineId, RELEASE pin.releaseVersion, CONDITION condition, STRANDED strandedExecutions, "
        "WORKERS eligibleWorkers, RUNNING running, CAPACITY capacity, HOSTS workersByHost, OTHERS hostedVersions, "
        "WHY NOT ineligibleReasons, COMMAND command",
        releases,
    )
    return (
        Exit.NEGATIVE if any(str(release.get("condition")).startswith("stalled") for release in releases) else Exit.OK
    )


@root.reading("stranded")
def stranded(session: Session) -> int:
    """List the work that no worker may run, by release. The status is 1 if there is any."""
    releases = items_of(session.client.get("stranded"))
    session.output.items(
        "PIPELINE pin.pipelineId, RELEASE pin.releaseVersion, EXECUTIONS executions, SINCE since, WHY reasons", releases
    )
    return Exit.NEGATIVE if releases else Exit.OK


@root.reading("drift")
def drift(
    session: Session,
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", help="Only of this pipeline.", show_default=False)
    ] = None,
) -> int:
    """List where reality differs from the active releases. The status is 1 if it does."""
    drifts = items_of(session.client.get(path("pipelines", pipeline, "drift") if pipeline else "drift"))
    columns = (
        "KIND kind, PIPELINE pipelineId, RELEASE releaseVersion, SUBJECT subject, NAME name, SINCE since, REMEDY remedy"
    )
    session.output.items(columns, drifts)
    return Exit.NEGATIVE if drifts else Exit.OK


root.listing(
    "holds",
    "GET holds",
    "PIPELINE pipelineId, RELEASE releaseVersion, EXECUTION executionId, SINCE since, BY by, "
    "REFUSES refusesSubmissions, REASON reason",
    "List what is paused: executions, releases and pipelines.",
    limit=100,
)
root.showing("quotas", "GET quotas", "Show the quotas of the tenant, and how much of them is used.")


@root.reading("provenance-key", "GET provenance-key", watch=False)
def provenance_key(session: Session, call: Call) -> None:
    """Print the public key that verifies signed documents, in PEM form."""
    key = session.client.call(call.request)
    if session.output.form is Form.JSON:
        session.output.value(key)
    else:
        session.output.text(str(key.get("publicKey")).strip())
