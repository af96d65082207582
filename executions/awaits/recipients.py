"""Who may claim and answer a question: its recipients, if it has some and the policy of its pipeline enforces them.

A question names a person (`assignee`), a group, or both. Either of them suffices. A group is that of the members
who have it (`tenancy.members`). An assignee with an @ is an address: it names the users whose e-mail address or user
name equals it, without regard to case. Every other assignee is a user name, and is compared exactly. Recipients need a
role that may answer. Superusers are recipients only if they are named, or are members with the group.

A resume token needs no person, so callers do not ask for one that comes with it.
"""

from collections.abc import Collection, Iterable
from functools import reduce
from operator import or_
from typing import Any, NamedTuple

from django.contrib.auth.models import AnonymousUser, User
from django.contrib.postgres.fields import ArrayField
from django.db import connection
from django.db.models import CharField, Exists, Func, OuterRef, Q, QuerySet
from django.db.models.functions import Substr

from executions.awaits import statements
from executions.errors import RecipientRequired
from executions.models import IS_CLAIMED, Interaction
from releases.models import Pipeline, Recipients
from tenancy import members
from tenancy.access import actor, actor_named
from tenancy.models import Membership, Tenant
from tenancy.roles import Scope, roles_granting

Person = User | AnonymousUser
LONGEST_RECIPIENT = 200
_FOR_ANYBODY = Q(assignee=None, group=None) | Q(execution__release__pipeline__recipients=Recipients.INFORM)


class Addressees(NamedTuple):
    """The recipients that a question names. Both may be None."""

    assignee: str | None
    group: str | None

    @property
    def names(self) -> list[str]:
        """The assignee, and the group in words."""
        return [name for name in (self.assignee, self.group and f"the group {self.group}") if name]

    @property
    def sentence(self) -> str:
        """Who may answer, such as `Only eva and members of finance may answer.`"""
        group = self.group and f"members of {self.group}"
        return f"Only {' and '.join(filter(None, (self.assignee, group)))} may answer."


def require(question: Interaction, person: Person | None) -> None:
    """Raise `RecipientRequired` unless the person may answer a question that the caller has locked.

    Reads the rights of the person after the lock, and keeps them until the transaction ends: neither the person nor
    their memberships change before. If there are recipients, None is not one of them.
    """
    to = addressees(question)
    if not any(to) or not _enforcing([question]) or _is_among(to, question.tenant, person, statements.LOCK_PERSON):
        return
    raise RecipientRequired(to.sentence, assignee=to.assignee, group=to.group)


def permits(question: Interaction, person: Person) -> bool:
    """True if `require` would accept the person now."""
    to = addressees(question)
    is_free = not any(to) or not _enforcing([question])
    return is_free or _is_among(to, question.tenant, person, statements.PERSON)


def addressees(question: Interaction) -> Addressees:
    return Addressees(question.assignee, question.group)


def restriction(question: Interaction) -> str:
    """Return the sentence that says who may answer; empty if others may, too."""
    return addressees(question).sentence if question.pk in restricted([question]) else ""


def restricted(questions: Iterable[Interaction]) -> set[object]:
    """Return the ids of the questions that only their recipients may answer. Needs their executions."""
    named = [question for question in questions if any(addressees(question))]
    enforcing = _enforcing(named) if named else set()
    return {question.pk for question in named if _pipeline_of(question) in enforcing}


def answerable(restricted_ids: Collection[Any], person: Person) -> set[object]:
    """Return the ids of those restricted questions that the person may answer, in two queries."""
    return {*Interaction.objects.filter(addressed_to(person), pk__in=restricted_ids).values_list("pk", flat=True)}


def candidates(question: Interaction) -> QuerySet[Membership, str]:
    """Return the names of members to whom the question can be passed on.

    If there are recipients, these are the members with the group and the assignee, unless that is an e-mail address:
    the tenant's people do not learn whose it is.
    """
    names = members.names(question.tenant, Scope.ANSWER)
    if question.pk not in restricted([question]):
        return names
    assignee = Q() if question.assignee is None else members.named_as(question.assignee)
    return names.filter(Q(groups__contains=[question.group]) | assignee)


def has_nobody(question: Interaction) -> bool:
    """True if the question is only for recipients, and no member is one of them. An address is not looked up."""
    to = addressees(question)
    is_address = to.assignee is not None and "@" in to.assignee
    return question.pk in restricted([question]) and not is_address and not candidates(question).exists()


def addressed_to(person: Person) -> Q:
    """Return the condition for questions that name the person, or one of their groups if their role may answer."""
    keys = _keys(person.get_username(), getattr(person, "email", ""))
    named = [Q(assignee__iexact=key) if "@" in key else Q(assignee=key) for key in sorted(keys)]
    rows = Membership.objects.filter(user=person.pk, groups__len__gt=0).order_by("pk")
    if not getattr(person, "is_superuser", False):
        rows = rows.filter(role__in=roles_granting(Scope.ANSWER))
    in_groups = [Q(tenant=tenant, group__in=groups) for tenant, groups in rows.values_list("tenant", "groups")]
    return reduce(or_, [*named, *in_groups])


def mine(person: Person, names: Collection[str] = ()) -> Q:
    """Return the condition for questions that are for the person, or that the person or an actor in `names` claimed.

    A question that was passed on is only for its delegate, as long as the delegate may answer it.
    """
    me = actor(person)
    passed_on = _for_delegate()
    return (
        Q(IS_CLAIMED, claimed_by__in=[me, *names]) | Q(passed_on, delegate=me) | Q(~Q(passed_on), addressed_to(person))
    )


def _for_delegate() -> Q:
    """Return the condition for questions whose delegate may still answer."""
    name = Substr(OuterRef("delegate"), len(actor_named("")) + 1)
    group = Func(OuterRef("group"), template="ARRAY[%(expressions)s]", output_field=ArrayField(CharField()))
    holders = members.holding(OuterRef("tenant"), name, Scope.ANSWER)
    recipients = holders.filter(Q(groups__contains=group) | members.named_as(OuterRef("assignee")))
    return Q(delegate__isnull=False) & (Q(_FOR_ANYBODY, Exists(holders)) | Q(Exists(recipients)))


def answerable_by(person: Person) -> Q:
    """Return the condition for questions whose recipients, if any, let the person answer."""
    return _FOR_ANYBODY | addressed_to(person)


def is_known(tenant: Tenant, to: Addressees) -> bool:
    """True if a member who may answer has the name, or the group. An address is not looked up."""
    rows = members.names(tenant, Scope.ANSWER)
    is_person = to.assignee is None or "@" in to.assignee or rows.filter(members.named_as(to.assignee)).exists()
    return is_person and (to.group is None or rows.filter(groups__contains=[to.group]).exists())


def _is_among(to: Addressees, tenant: Tenant, person: Person | None, statement: str) -> bool:
    if person is None or person.pk is None:
        return False
    parameters: dict[str, Any] = {"person": person.pk, "tenant": tenant.pk, "roles": roles_granting(Scope.ANSWER)}
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        row = cursor.fetchone()
    if row is None:
        return False
    username, email, may_answer, groups = row
    is_assignee = to.assignee is not None and _key(to.assignee) in _keys(username, email)
    return may_answer and (is_assignee or to.group in groups)


def _keys(username: str, email: str) -> set[str]:
    return {_key(username), *([_key(email)] if "@" in email else [])}


def _key(name: str) -> str:
    return name.lower() if "@" in name else name


def _pipeline_of(question: Interaction) -> tuple[int, str]:
    return question.tenant_id, question.execution.pipeline_id


def _enforcing(questions: Collection[Interaction]) -> set[tuple[int, str]]:
    """Return the pipelines of questions whose policy enforces recipients: tenant and pipeline id."""
    keys = {_pipeline_of(question) for question in questions}
    rows = Pipeline.objects.filter(
        tenant__in={tenant for tenant, _ in keys}, pipeline_id__in={name for _, name in keys}
    )
    return set(rows.filter(recipients=Recipients.ENFORCE).values_list("tenant", "pipeline_id"))
