from typing import Any

from executions.awaits import questions
from executions.awaits.recipients import Person
from executions.models import AwaitUnit, DeadLetter, Execution, Interaction
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.raw_sql import run


def suspended(ready: tuple[Tenant, Release], key: str = "key", **members: Any) -> Execution:
    """Return an execution whose worker reported an await."""
    made = making.execution(ready[0], key)
    [claim] = making.claimed(ready[0])
    assert making.record(making.suspension(claim, **members)) == 1
    return making.reread(made)


def itemized(ready: tuple[Tenant, Release], count: int) -> tuple[Execution, list[Interaction]]:
    """Return an execution that awaits an answer for each of its items, and its interactions in order."""
    requests = [f'{{"n": {number}}}' for number in range(count)]
    made = suspended(ready, requests=requests, itemized=True, gives_many=True)
    return made, list(Interaction.objects.filter(execution=made).select_related("tenant").order_by("item_index"))


def interaction_of(execution: Execution) -> Interaction:
    return Interaction.objects.get(execution=execution)


def answer(
    question: Interaction, response: Any = None, actor: str = "user:eva", person: Person | None = None
) -> questions.Answered:
    response = {"n": 2} if response is None else response
    return questions.answer(question.tenant, question_id=question.pk, response=response, actor=actor, person=person)


def make_late(*late: Interaction) -> None:
    ids = [question.pk for question in late]
    run("UPDATE executions_interaction SET deadline = now() - interval '1 second' WHERE id = ANY(%s)", ids)


def assert_timed_out(made: Execution, question: Interaction) -> None:
    made.refresh_from_db()
    question.refresh_from_db()
    assert (made.status, made.error_code) == ("FAILED", "AWAIT_TIMEOUT")
    assert made.error_message == f"Question {question.pk} was not answered in time"
    assert (question.status, AwaitUnit.objects.get(pk=question.unit_id).status) == ("TIMED_OUT", "TIMED_OUT")
    assert making.history(made)[-1] == ("AWAIT_TIMEOUT", "FAILED")
    letter = DeadLetter.objects.get(execution=made)
    assert (letter.reason, letter.transition_key) == ("await_timeout", f"{made.pk}:0:0")
