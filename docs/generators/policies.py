"""The page of the members of a pipeline's policy."""

from typing import Final

from django.conf import settings

from docs.generators.markdown import code, codes, joined, table
from releases.models import Pipeline
from releases.models.pipeline import MEMBERS, Member
from wire.documents.step_policy import CHANGEABLE

HEAD: Final = f"""\
# Policies

The members of a pipeline's policy: its rules for activations, workers, answers and retries. [Set a
policy](../how-to/set-a-policy.md) says how to change them.

The defaults of `retryLimit` and `retryDelaySeconds` are [settings](settings.md#executions-and-workers) of the
installation. That of `retryMultiplier` is {settings.RETRY_MULTIPLIER:g}.
"""
VALUES: Final = "## Named values"
STEPS: Final = """\
## Policies of steps

`steps` has an object for each step that it changes, by the name that the author gave it, such as
`{"Book": {"retries": 8}}`. Its members replace what the release [declares](language.md). The members above apply to
what neither of them names.
"""


def page() -> str:
    members = [(code(member.name), _values(member), _default(member), member.meaning) for member in MEMBERS]
    named = [
        (code(member.name), code(str(value)), f"{label}.")
        for member in MEMBERS
        for value, label in (member.choices.choices if member.choices else ())
    ]
    steps = [(code(name), rule(None).removeprefix("must be ")) for name, rule in CHANGEABLE.items()]
    return joined(
        *(HEAD, table(("member", "values", "default", "meaning"), members)),
        *(VALUES, table(("member", "value", "meaning"), named)),
        *(STEPS, table(("member of a step", "values"), steps)),
    )


def _values(member: Member) -> str:
    null = f", or null for {member.unset}" if member.unset else ""
    if member.choices is not None:
        return codes(member.choices.values)
    if member.longest is not None:
        return f"a name{null}"
    if member.of_steps:
        return "an object"
    if member.limits is None:
        return "`true`, `false`"
    return f"{member.limits[0]:g} to {member.limits[1]:g}{null}"


def _default(member: Member) -> str:
    value = getattr(Pipeline(), member.column)
    if member.limits is not None or member.unset:
        return "null" if value is None else f"{value:g}"
    return code(str(value).lower())
