"""`coordinator list_accepted` tells what to submit again after a failover."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from tests import making

pytestmark = pytest.mark.django_db


def listed(*arguments: str) -> list[list[str]]:
    output = StringIO()
    call_command("list_accepted", *arguments, stdout=output)
    lines = map(json.loads, output.getvalue().splitlines())
    return [[line["tenant"], line["pipelineId"], line["idempotencyKey"], line["executionId"]] for line in lines]


def test_it_lists_what_was_accepted_since_a_time() -> None:
    accepted = []
    for owner in sorted((making.ready()[0] for _ in range(2)), key=lambda tenant: tenant.slug):
        made = making.execution(owner, "a key")
        accepted.append([owner.slug, making.PIPELINE, "a key", str(made.pk)])
    at = made.created_at.isoformat()
    assert listed(f"--since={at}") == accepted
    assert listed(f"--since={at}", f"--tenant={accepted[0][0]}") == accepted[:1]
    assert listed("--since=2999-01-01T00:00:00Z") == []
    with pytest.raises(CommandError, match="must be a time"):
        listed("--since=yesterday")
