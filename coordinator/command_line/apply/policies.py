"""The section `pipelines`: the policies of pipelines."""

from typing import Any, Final

from coordinator.command_line.apply.changes import Change, changed, is_same
from coordinator.command_line.apply.document import Place
from coordinator.command_line.client import Client, Request, path
from coordinator.command_line.errors import CommandError, Exit, Refused

NO_POLICY: Final = frozenset(
    {"paused", "pipelineId", "application", "createdAt", "activeReleaseVersion", "activeContractVersion"}
    | {"candidateReleaseVersion", "candidateShare"}
)
"""The members of a pipeline that are not members of its policy."""


def changes(section: Place, client: Client) -> list[Change]:
    """Return the changes to policies. Raises `CommandError` for unknown pipelines and members."""
    found = []
    for pipeline, place in section.members().items():
        members = place.members(("policy",))
        if "policy" in members:
            present = _pipeline(client, pipeline, place)
            found += _changes(pipeline, present, members["policy"])
    return found


def _pipeline(client: Client, pipeline: str, place: Place) -> dict[str, Any]:
    try:
        return client.get(path("pipelines", pipeline))
    except Refused as error:
        if error.status is not Exit.NOT_FOUND:
            raise
        message = f"{place.wrong('the tenant has no such pipeline; upload a release of it first')}"
        raise CommandError(message, Exit.NOT_FOUND) from None


def _changes(pipeline: str, present: dict[str, Any], policy: Place) -> list[Change]:
    known = sorted(present.keys() - NO_POLICY)
    wanted = policy.members(known)
    body = {name: each.value for name, each in wanted.items() if not is_same(present[name], each.value)}
    lines = [(wanted[name].path, present[name], value) for name, value in body.items()]
    return [changed(lines, Request("PATCH", path("pipelines", pipeline), body=body))] if lines else []
