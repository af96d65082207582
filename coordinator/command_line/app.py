"""The tree of commands that use the REST API, with `login` and `profiles`, which write the configuration file."""

import io
import os
import sys
from dataclasses import replace
from typing import Annotated, Final

import typer

from coordinator.command_line import apply, campaigns, executions, recoveries, releases, schedules, tenant
from coordinator.command_line.commands import Noun, root
from coordinator.command_line.session import CommandError, Session
from coordinator_client import profiles
from coordinator_client.api import Client, Connection
from coordinator_client.profiles import Profile, Profiles

stored = Noun("profiles", "List, choose and remove the profiles of the configuration file.")
LONGEST_TOKEN: Final = 10_000
Name = Annotated[str, typer.Argument(help="The profile's name.", show_default=False)]


@root.local("login")
def login(
    session: Session,
    url: Annotated[str, typer.Option(help="The address of the coordinator.", prompt=True)],
    tenant: Annotated[str, typer.Option(help="The tenant's slug.", prompt=True)],
    profile: Annotated[str, typer.Option(help="The name of the profile.")] = "default",
    ca_file: Annotated[str, typer.Option(help="Certificates of the authorities to trust, in PEM form.")] = "",
    token_stdin: Annotated[bool, typer.Option("--token-stdin", help="Read the token from stdin.")] = False,
) -> None:
    """Check a token and store it in a profile, which becomes the default one.

    The token is that of $COORDINATOR_TOKEN, or it is read from stdin, or from the terminal without an echo.
    """
    url = profiles.coordinator_url(url)
    file = profiles.location()
    known = profiles.read(file)
    entered = Profile(url=url, tenant=tenant, token=_token(token_stdin), ca_file=ca_file)
    Client(Connection(url, tenant, entered.token, ca_file)).get("pipelines", pageSize=1)
    profiles.write(file, Profiles(profile, {**known.by_name, profile: entered}))
    session.output.note(f"stored the profile {profile!r} in {file}")


@stored.local("list")
def list_profiles(session: Session) -> None:
    """List the profiles, without their tokens."""
    known = profiles.read(profiles.location())
    session.output.items(
        "PROFILE name, DEFAULT default, URL url, TENANT tenant",
        [
            {"name": name, "default": name == known.default, "url": profile.url, "tenant": profile.tenant}
            for name, profile in sorted(known.by_name.items())
        ],
    )


@stored.local("use")
def use(session: Session, name: Name) -> None:
    """Make a profile the default one."""
    known = profiles.read(profiles.location())
    known.chosen(name)
    profiles.write(profiles.location(), replace(known, default=name))
    session.output.note(f"the default profile is {name!r}")


@stored.local("remove")
def remove(session: Session, name: Name) -> None:
    """Remove a profile with its token. The token itself stays valid."""
    known = profiles.read(profiles.location())
    known.chosen(name)
    left = {profile_name: profile for profile_name, profile in known.by_name.items() if profile_name != name}
    profiles.write(profiles.location(), Profiles("" if known.default == name else known.default, left))
    session.output.note(f"removed the profile {name!r}")


def _token(from_stdin: bool) -> str:
    token = os.environ.get("COORDINATOR_TOKEN", "")
    if from_stdin:
        token = sys.stdin.readline(LONGEST_TOKEN)
    elif not token:
        if not sys.stdin.isatty():
            raise CommandError(
                "there is no terminal to ask for the token on; set COORDINATOR_TOKEN or use --token-stdin"
            )
        token = typer.prompt("Token", hide_input=True, err=True)
    token = token.strip()
    if not profiles.is_token(token):
        raise CommandError("this is no token")
    return token


root.changing("apply")(apply.apply)
NOUNS = (
    releases.releases,
    recoveries.recoveries,
    releases.requests,
    releases.gradual,
    executions.executions,
    executions.failures,
    campaigns.campaigns,
    schedules.schedules,
    executions.questions,
    campaigns.workers,
    releases.pipelines,
    tenant.keys,
    tenant.members,
    tenant.invitations,
    tenant.alerts,
    tenant.audit,
    stored,
)
for noun in NOUNS:
    root.app.add_typer(noun.app)


def tree() -> typer.Typer:
    return root.app


def main() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for terminals that cannot show every character
    if "_COORDINATOR_COMPLETE" not in os.environ:  # which looks at all commands
        for noun in NOUNS:
            if noun.app.info.name not in sys.argv[1:2]:
                noun.app.registered_commands = []  # typer would build them, which takes longer than most commands
    tree()(prog_name="coordinator")
