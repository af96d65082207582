"""Reads and answers questions: the requests of executions to people and other systems.

The caller has checked access to the tenant. A resume token needs no other permission.
"""

import uuid
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone
from psycopg.types.json import Jsonb

from executions.awaits import answer_types, awaits, recipients, statements
from executions.awaits.awaits import epoch_ms
from executions.awaits.recipients import Person
from executions.errors import (
    AwaitTimedOut,
    CorrelationAmbiguous,
    QuestionClaimed,
    QuestionClosed,
    QuestionUnknown,
    RecipientRequired,
    RedriveRefused,
    ResumeTokenInvalid,
)
from executions.models import PAYLOADS_OF_EXECUTION, Execution, Interaction
from executions.workers.registry import DISPATCH_TASK
from foundation import wakeup
from tenancy import audit
from tenancy.audit.acts import Act
from tenancy.models import Tenant
from wire.documents.contract import AUTOMATIC, TIMER
from wire.documents.request_and_answer import request_with_answer, takes_request
from wire.messages.suspension import interaction_id as interaction_id_of
from wire.resume_token import ResumeToken, ResumeTokenError, read

Status = Interaction.Status
MOST_CORRELATED = 100
ANSWERED: Final = (
    "tenant_id",
    "unit__itemized",
    "unit__gives_many",
    "execution__pipeline_id",
    "execution__release__pipeline__validate_answers",
    "execution__release__contract__document",
    "step_id",
    "step_index",
    "item_index",
    "worker_name",
    "correlation_id",
    "transport",
    "request",
    "output_type",
    "assignee",
    "group",
    "status",
    "deadline",
    "first_deadline",
)
"""The columns that an answer needs."""
UNREAD = "UNDECODABLE_PAYLOAD"
"""The error of a worker that cannot read what a transition starts from. REST workers report it in their message."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim that lasts: who is working on an answer, until when, and for how long from now."""

    by: str
    until: datetime
    left: timedelta

    def refusal(self, question_id: uuid.UUID) -> QuestionClaimed:
        """Return the error for others who would disturb the claimant."""
        return QuestionClaimed(
            f"{self.by} has claimed question {question_id} until {self.until.isoformat(timespec='seconds')}.",
            claimedBy=self.by,
            claimedUntil=self.until.isoformat(),
        )


@dataclass(frozen=True, slots=True)
class Locked:
    """What a question is while it is locked.

    `late` says whether its deadline has passed by the database's clock, `claimant` who claimed it last, and `claim` is
    the claim if that lasts.
    """

    status: str
    late: bool
    claimant: str | None
    claim: Claim | None


@dataclass(frozen=True, slots=True)
class Answered:
    """A question with its answer. If the call was a `duplicate`, this is the earlier answer, which stays."""

    question: Interaction
    duplicate: bool


def questions_of(tenant: Tenant) -> QuerySet[Interaction]:
    """Return the questions of the tenant, nearest deadline first."""
    return Interaction.objects.filter(tenant=tenant).with_executions().order_by("deadline", "created_at", "id")


def get_question(tenant: Tenant, question_id: uuid.UUID) -> Interaction:
    """Return one question of the tenant. Raises `QuestionUnknown`."""
    rows = Interaction.objects.select_related("execution").defer(*PAYLOADS_OF_EXECUTION)
    question = rows.filter(tenant=tenant, pk=question_id).first()
    if question is None:
        raise QuestionUnknown(f"There is no question {question_id}.")
    question.tenant = tenant
    return question


def time_left(question: Interaction) -> timedelta:
    """Return how long answers are accepted: negative when late. A pause of the execution stops the time."""
    with connection.cursor() as cursor:
        cursor.execute(statements.TIME_LEFT, [question.pk])
        left: timedelta = cursor.fetchone()[0]
    return left


def resume(resume_token: str, *, response: Any, actor: str) -> Answered:
    """Answer a question with a resume token alone, which names the tenant. Raises as `answer` does."""
    token = _read(resume_token)
    tenant = Tenant.objects.filter(slug=token.tenant_id).first()
    if tenant is None:
        raise ResumeTokenInvalid("The resume token names an unknown tenant.")
    channel = Interaction.Channel.RESUME_TOKEN
    return answer(tenant, resume_token=resume_token, response=response, actor=actor, channel=channel)


def _denied(
    tenant: Tenant,
    *,
    actor: str,
    question_id: uuid.UUID | None = None,
    correlation_id: str | None = None,
    **_: Any,
) -> dict[str, Any]:
    return {"tenant": tenant, "actor": actor, "object": question_id or correlation_id}


@audit.denials(Act.INTERACTION_ANSWER, RecipientRequired, of=_denied)
def answer(
    tenant: Tenant,
    *,
    response: Any,
    actor: str,
    person: Person | None = None,
    question_id: uuid.UUID | None = None,
    correlation_id: str | None = None,
    resume_token: str | None = None,
    channel: Interaction.Channel = Interaction.Channel.API,
    note: str = "",
    unless_claimed: bool = False,
) -> Answered:
    """Answer a question, named by one or more of its three names, which must agree.

    The first answer is stored with its actor and time. The last missing answer of a unit resumes the execution. A
    repeated answer changes nothing, returns the first answer, and sends the wake-up for the execution again. An answer
    after the deadline fails the unit and the execution, as the sweep does. With `unless_claimed`, the claim of another
    actor refuses the answer; pages set it until the person confirms. `note` is stored with the answer. `person` is the
    one who answers, or the owner of the token: it must be a recipient (`executions.awaits.recipients`), unless the
    answer comes with a resume token.

    Raises, in this order: `ResumeTokenInvalid`, `CorrelationAmbiguous`, `QuestionUnknown`, `AwaitTimedOut`,
    `QuestionClosed`, `RecipientRequired`, `QuestionClaimed`, `AnswerInvalid`.
    """
    token = None if resume_token is None else _read(resume_token)
    question = _find(tenant, question_id, correlation_id, token)
    problems = [] if question.status == Status.COMPLETED else answer_types.problems(question, response)
    with transaction.atomic():
        locked = lock(question)
        status, late = locked.status, locked.late
        if status == Status.COMPLETED:
            wakeup.send_once(DISPATCH_TASK)
        elif late and status in Interaction.OPEN:
            awaits.time_out([question.execution_id], actor=actor)
        elif status not in Interaction.OPEN or question.transport in AUTOMATIC:
            late = status == Status.TIMED_OUT
            if not late:
                raise QuestionClosed(_why_closed(question, status), questionStatus=status, interactionStatus=status)
        else:
            if token is None:
                recipients.require(question, person)
            if unless_claimed and locked.claim is not None and locked.claim.by != actor:
                raise locked.claim.refusal(question.pk)
            if problems:
                raise answer_types.refusal(problems)
            record_answer(question, response, actor, channel, note.strip() or None)
            awaits.resume({question.unit_id: 1}, actor=actor, with_requests=with_request(question))
            audit.record(
                Act.INTERACTION_ANSWER,
                tenant=tenant,
                actor=actor,
                object=question.pk,
                executionId=str(question.execution_id),
            )
    if late and status != Status.COMPLETED:
        raise AwaitTimedOut(
            f"The deadline of question {question.pk} was {question.deadline.isoformat()}.",
            questionId=str(question.pk),
            interactionId=str(question.pk),
            executionId=str(question.execution_id),
        )
    return Answered(get_question(tenant, question.pk), duplicate=status == Status.COMPLETED)


def replaced(execution: Execution, question_id: uuid.UUID, response: Any, person: Person | None) -> Any:
    """Return what an execution starts from if `response` takes the place of an answer that its worker could not read.

    The question keeps the answer that it got. Raises `QuestionUnknown`, `RedriveRefused` unless the execution
    failed because the worker could not read the answers of this question's unit, `RecipientRequired` unless `person`
    is a recipient, and `AnswerInvalid`.
    """
    question = _find(execution.tenant, question_id, None, None)
    unread = UNREAD in (execution.error_code, (execution.error_message or "").partition(":")[0])
    is_next = (question.execution_id, question.step_index + 1) == (execution.pk, execution.current_step_index)
    if not (unread and is_next and question.status == Status.COMPLETED) or question.transport in AUTOMATIC:
        raise RedriveRefused(
            f"The answer of question {question_id} cannot be replaced: execution {execution.pk} has not failed "
            f"with {UNREAD} on it.",
            executionStatus=execution.status,
        )
    recipients.require(question, person)
    if problems := answer_types.problems(question, response):
        raise answer_types.refusal(problems)
    if with_request(question):
        response = request_with_answer(question.request, response)
    if not question.unit.itemized:
        return response
    return [
        response if place == question.item_index else answered
        for place, answered in enumerate(execution.progress or ())
    ]


# --- finding --------------------------------------------------------------------------------------


def _read(resume_token: str) -> ResumeToken:
    try:
        return read(resume_token, awaits.resume_secrets())
    except ResumeTokenError as error:
        raise ResumeTokenInvalid(str(error)) from None


def _find(
    tenant: Tenant, question_id: uuid.UUID | None, correlation_id: str | None, token: ResumeToken | None
) -> Interaction:
    """Return the one question that matches all arguments that are not None. Verifies the token against it."""
    names: dict[str, Any] = {}
    if token is not None:
        names["pk"] = interaction_id_of(tenant.slug, token.interaction_id)
    if correlation_id is not None:
        names["correlation_id"] = correlation_id
    if question_id is not None:
        names["pk"] = question_id
    if not names:
        raise QuestionUnknown("An answer must name its question.")
    if correlation_id is not None and "pk" not in names:
        names["pk"] = named_by_correlation(tenant, correlation_id)
    question = (
        Interaction.objects.filter(tenant=tenant, **names)
        .select_related("unit", "execution__release__pipeline", "execution__release__contract")
        .only(*ANSWERED)
        .first()
    )
    if question is None:
        named = " and ".join(str(value) for value in names.values() if value is not None)
        raise QuestionUnknown(f"There is no question {named}.")
    question.tenant = tenant
    if token is not None:
        _require_token_of(token, question)
    return question


def named_by_correlation(tenant: Tenant, correlation_id: str) -> uuid.UUID | None:
    """Return the id of the question that a correlation id names; None if it names none.

    Workers choose correlation ids, so several questions may have the same one. Any other question takes
    precedence over a lost one, and an execution's latest unit over its earlier ones. Raises `CorrelationAmbiguous` if
    more than one open or answered question is left: a repeated answer must never answer another question.
    """
    rows = Interaction.objects.filter(tenant=tenant, correlation_id=correlation_id).order_by("-created_at")
    live = list(
        rows.filter(status__in=(*Interaction.OPEN, Status.COMPLETED)).values_list("pk", "execution_id", "unit_id")[
            :MOST_CORRELATED
        ]
    )
    latest_units = {execution_id: unit_id for _, execution_id, unit_id in reversed(live)}
    named = [pk for pk, execution_id, unit_id in live if unit_id == latest_units[execution_id]]
    if len(named) > 1:
        raise CorrelationAmbiguous(
            f"{len(named)} questions have the correlation id {correlation_id}; name one by its id.",
            questionIds=[str(pk) for pk in named],
            interactionIds=[str(pk) for pk in named],
        )
    return named[0] if named else rows.values_list("pk", flat=True).first()


def _require_token_of(token: ResumeToken, question: Interaction) -> None:
    """Raise `ResumeTokenInvalid` unless the token is one of this question. Its deadline is checked later.

    If pauses have moved the deadline, tokens from before have an earlier one and stay valid.
    """
    record = awaits.resume_token_of(question, issued_at=timezone.now())
    if question.first_deadline is not None and (
        epoch_ms(question.first_deadline) <= token.deadline_epoch_ms <= record.deadline_epoch_ms
    ):
        record = replace(record, deadline_epoch_ms=token.deadline_epoch_ms)
    try:
        token.require(record, now_epoch_ms=min(epoch_ms(timezone.now()), record.deadline_epoch_ms))
    except ResumeTokenError as error:
        raise ResumeTokenInvalid(str(error)) from None


# --- answering ------------------------------------------------------------------------------------


def lock(question: Interaction) -> Locked:
    """Lock the question, after its execution and its unit. `question` gets the recipients that it has now."""
    awaits.lock(question.execution_id, question.unit_id)
    with connection.cursor() as cursor:
        cursor.execute(statements.LOCK_INTERACTION, [TIMER, question.pk])
        status, late, claimant, until, left, question.assignee, question.group = cursor.fetchone()
    return Locked(status, late, claimant, Claim(claimant, until, left) if left else None)


def record_answer(
    question: Interaction, response: Any, actor: str, channel: Interaction.Channel | None, note: str | None
) -> None:
    """Store the answer of a question that the caller has locked and that is open."""
    parameters: dict[str, Any] = {
        "id": question.pk,
        "response": Jsonb(response),
        "actor": actor,
        "channel": channel and channel.value,
        "note": note,
        "open": awaits.OPEN,
    }
    with connection.cursor() as cursor:
        cursor.execute(statements.ANSWER, parameters)


def with_request(question: Interaction) -> bool:
    """True if the next step takes the request with the answer (ADR 118)."""
    contract = question.execution.release.contract
    return contract is not None and takes_request(contract.document.get("steps"), question.step_index + 1)


def _why_closed(question: Interaction, status: str) -> str:
    if status in Interaction.OPEN:
        kind = "timer" if question.transport == TIMER else "call of a pipeline"
        return f"Question {question.pk} is a {kind}, which cannot be answered."
    return f"Question {question.pk} is {status}."
