"""Claims of questions: who is working on an answer, and to whom a question was passed on.

Claims coordinate people. They never refuse an answer over REST or with a resume token. Only who may answer may claim
and pass on (`executions.awaits.recipients`). Every change is written with its event, under the locks of `awaits`. The
caller has checked access to the tenant.
"""

import uuid
from datetime import timedelta
from typing import Any

from django.db import connection, transaction

from executions.awaits import awaits, recipients, statements
from executions.awaits.questions import Claim, Locked, get_question, lock
from executions.awaits.recipients import Person
from executions.errors import DelegateUnknown, QuestionClosed, QuestionNotClaimed, RecipientRequired
from executions.models import Interaction, InteractionEvent
from tenancy import audit, members
from tenancy.access import actor_named
from tenancy.audit.acts import Act
from tenancy.models import Tenant
from wire.documents.contract import AUTOMATIC

CLAIM_TIME = timedelta(minutes=30)
RENEWED_AFTER = timedelta(minutes=5)
"""A claim that is younger than this is not renewed, so that opening a page repeatedly writes no further events."""
LONGEST_NOTE = 2000
Kind = InteractionEvent.Kind


def _denied(tenant: Tenant, question_id: uuid.UUID, *, actor: str, **_: Any) -> dict[str, Any]:
    return {"tenant": tenant, "actor": actor, "object": question_id}


@audit.denials(Act.INTERACTION_CLAIM, RecipientRequired, of=_denied)
def claim(
    tenant: Tenant, question_id: uuid.UUID, *, actor: str, person: Person | None = None, take_over: bool = False
) -> Interaction:
    """Claim an open question for CLAIM_TIME. Renews a claim that the actor has.

    Raises `QuestionUnknown`, `QuestionClosed`, `RecipientRequired` unless `person` may answer, and
    `QuestionClaimed` if the claim of another actor lasts, unless `take_over` is set.
    """
    return _claim(get_question(tenant, question_id), actor, person, take_over=take_over)


def renew(question: Interaction, *, actor: str, person: Person | None = None) -> Interaction:
    """Renew the actor's claim if it lasts and has not been renewed for RENEWED_AFTER. Otherwise do nothing."""
    if question.claimed_by != actor or question.status not in Interaction.OPEN:
        return question
    return _claim(question, actor, person, renewal=True)


def release(tenant: Tenant, question_id: uuid.UUID, *, actor: str) -> Interaction:
    """End the actor's claim. Raises `QuestionUnknown`, `QuestionClosed`, `QuestionNotClaimed`."""
    question = get_question(tenant, question_id)
    with transaction.atomic():
        claimant = lock_open(question).claimant
        if claimant != actor:
            raise QuestionNotClaimed(f"Question {question.pk} is not claimed by {actor}.")
        _change(question, claimant, Kind.RELEASED, actor=actor)
        _record(Act.INTERACTION_RELEASE, question, actor)
    return get_question(tenant, question.pk)


@audit.denials(Act.INTERACTION_DELEGATE, RecipientRequired, of=_denied)
def delegate(
    tenant: Tenant,
    question_id: uuid.UUID,
    *,
    actor: str,
    to: str,
    person: Person | None = None,
    note: str = "",
    take_over: bool = False,
) -> Interaction:
    """Pass an open question on to the member with the user name `to`, and end its claim.

    Raises `QuestionUnknown`, `QuestionClosed`, `RecipientRequired` unless `person` may answer, `DelegateUnknown`
    if no such member may, and `QuestionClaimed` if the claim of another actor lasts, unless `take_over` is set.
    """
    question = get_question(tenant, question_id)
    with transaction.atomic():
        locked = lock_open(question)
        recipients.require(question, person)
        _require_candidate(question, to)
        _require_free(question, locked.claim, actor, take_over=take_over)
        _change(
            question, locked.claimant, Kind.DELEGATED, actor=actor, delegate=actor_named(to), note=note.strip() or None
        )
        _record(Act.INTERACTION_DELEGATE, question, actor, to=actor_named(to))
    return get_question(tenant, question.pk)


def _claim(
    question: Interaction, actor: str, person: Person | None, *, take_over: bool = False, renewal: bool = False
) -> Interaction:
    with transaction.atomic():
        locked = lock_open(question)
        lasting = locked.claim
        held = lasting if lasting is not None and lasting.by == actor else None
        if renewal and (held is None or held.left > CLAIM_TIME - RENEWED_AFTER):
            return question
        recipients.require(question, person)
        _require_free(question, lasting, actor, take_over=take_over)
        kind = Kind.RENEWED if held else Kind.TAKEN_OVER if lasting else Kind.CLAIMED
        _change(question, locked.claimant, kind, actor=actor, claimant=actor)
        _record(Act.INTERACTION_CLAIM, question, actor)
    return get_question(question.tenant, question.pk)


def _require_free(question: Interaction, lasting: Claim | None, actor: str, *, take_over: bool) -> None:
    if lasting is not None and lasting.by != actor and not take_over:
        raise lasting.refusal(question.pk)


def _require_candidate(question: Interaction, to: str) -> None:
    """Raise `DelegateUnknown` unless a member with this name may answer the question, which is locked."""
    if not recipients.candidates(question).filter(members.named_as(to)).exists():
        message = "is not a member of the tenant who may answer"
        raise DelegateUnknown(
            f"{to!r} {message}.", errors=[{"field": "to", "code": "DELEGATE_UNKNOWN", "message": message}]
        )


def lock_open(question: Interaction) -> Locked:
    """Lock the question. Raises `QuestionClosed` if it cannot be answered."""
    locked = lock(question)
    if locked.status not in Interaction.OPEN or question.transport in AUTOMATIC:
        raise QuestionClosed(
            f"Question {question.pk} cannot be answered.", questionStatus=locked.status, interactionStatus=locked.status
        )
    return locked


def _change(
    question: Interaction,
    before: str | None,
    kind: InteractionEvent.Kind,
    *,
    actor: str,
    claimant: str | None = None,
    delegate: str | None = None,
    note: str | None = None,
) -> None:
    parameters: dict[str, Any] = {
        "id": question.pk,
        "open": awaits.OPEN,
        "before": before,
        "kind": kind.value,
        "actor": actor,
        "claimant": claimant,
        "time": CLAIM_TIME,
        "delegate": delegate,
        "note": note,
    }
    with connection.cursor() as cursor:
        cursor.execute(statements.CHANGE_CLAIM, parameters)


def _record(act: Act, question: Interaction, actor: str, **details: str) -> None:
    audit.record(
        act,
        tenant=question.tenant,
        actor=actor,
        object=question.pk,
        executionId=str(question.execution_id),
        **details,
    )
