"""Executions that wait at an await."""

from typing import Any

from executions.awaits import interactions
from executions.lifecycle import outcome
from executions.models import AwaitUnit, DeadLetter, Execution, Interaction
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.raw_sql import run
from wire.messages.celery_messages import OutcomeGroup


def suspended(ready: tuple[Tenant, Release], key: str = "key", **members: Any) -> Execution:
    """Return an execution whose worker reported an await."""
    owner, release = ready
    made = making.execution(owner, key)
    [claim] = making.claimed(owner)
    suspension = making.suspension(claim, **members)
    assert outcome.record(release.identity, OutcomeGroup(worker_id="w", outcomes=[suspension])) == 1
    made.refresh_from_db()
    return made


def interaction_of(of: Execution) -> Interaction:
    return Interaction.objects.get(execution=of)


def answer(of: Interaction, response: Any = None, actor: str = "user:eva") -> interactions.Completion:
    response = {"n": 2} if response is None else response
    return interactions.complete(of.tenant, interaction_id=of.pk, response=response, actor=actor)


def make_late(*of: Interaction) -> None:
    ids = [each.pk for each in of]
    run("UPDATE executions_interaction SET deadline = now() - interval '1 second' WHERE id = ANY(%s)", ids)


def assert_timed_out(made: Execution, one: Interaction) -> None:
    made.refresh_from_db()
    one.refresh_from_db()
    assert (made.status, made.error_code) == ("FAILED", "AWAIT_TIMEOUT")
    assert made.error_message == f"Await interaction timed out: {one.pk}"
    assert (one.status, AwaitUnit.objects.get(pk=one.unit_id).status) == ("TIMED_OUT", "TIMED_OUT")
    assert making.history(made)[-1] == ("AWAIT_TIMEOUT", "FAILED")
    letter = DeadLetter.objects.get(execution=made)
    assert (letter.reason, letter.transition_key) == ("await_timeout", f"{made.pk}:0:0")
