"""The page about policies lists every member as the code declares it."""

from releases.activation.policy import MEMBERS, Member
from releases.models import Pipeline
from tests.docs.test_docs import table_rows


def values(member: Member) -> str:
    if member.choices is not None:
        return ", ".join(f"`{value}`" for value in member.choices.values)
    if member.limits is None:
        return "`true`, `false`"
    return f"{member.limits[0]:g} to {member.limits[1]:g}{', or null' if member.unset else ''}"


def default(member: Member) -> str:
    found = getattr(Pipeline(), member.column)
    if member.limits is not None:
        return "null" if found is None else f"{found:g}"
    return f"`{str(found).lower()}`"


def test_every_member_of_a_policy_is_documented() -> None:
    documented = [row for row in table_rows("policies.md") if len(row) == 4]
    assert documented == [[f"`{each.name}`", values(each), default(each), each.meaning] for each in MEMBERS]
