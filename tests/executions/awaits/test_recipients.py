"""Who may claim and answer a question that names an assignee or a group, and how an admin names others."""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import AnonymousUser, User

from executions import errors
from executions.awaits import claims, questions, reassignment, recipients
from executions.awaits.recipients import Person
from executions.models import ExecutionEvent, Interaction, InteractionEvent
from foundation.errors import InvalidRequest
from releases.models import Pipeline, Recipients, Release
from tenancy import members
from tenancy.models import AuditEntry, Membership, Tenant
from tenancy.roles import Role
from tests import making
from tests.cases import cases
from tests.executions.awaits.parking import answer, interaction_of, suspended
from tests.executions.awaits.test_answers import token_of
from tests.raw_sql import raised, unguarded

Ready = tuple[Tenant, Release]
ADMIN = "user:admin"


def person(owner: Tenant, name: str, *groups: str, role: Role = Role.OPERATOR, **more: Any) -> User:
    user = User.objects.create_user(name, **more)
    Membership.objects.create(user=user, tenant=owner, role=role, groups=list(groups))
    return user


def ask(ready: Ready, key: str = "key", **named: str) -> Interaction:
    return interaction_of(suspended(ready, key, **named))


def claim(question: Interaction, *, person: Person | None) -> Any:
    return claims.claim(question.tenant, question.pk, actor="user:x", person=person)


def reassign(question: Interaction, assignee: str | None = None, group: str | None = None, reason: str = "away") -> Any:
    by = {"actor": ADMIN, "reason": reason}
    return reassignment.reassign(question.tenant, question.pk, **by, assignee=assignee, group=group)


@cases(
    ("named", "username", "email", "groups", "accepted"),
    ({"group": "finance"}, "max", "", ["legal", "finance"], True),
    ({"group": "finance"}, "max", "", ["Finance"], False),
    ({"group": "finance"}, "finance", "", [], False),
    ({"assignee": "eva"}, "eva", "", [], True),
    ({"assignee": "eva"}, "Eva", "", ["eva"], False),
    ({"assignee": "eva"}, "max", "eva", [], False),
    ({"assignee": "Eva@acme.example"}, "max", "eva@ACME.example", [], True),
    ({"assignee": "Eva@acme.example"}, "eva@acme.EXAMPLE", "", [], True),
    ({"assignee": "eva@acme.example"}, "eva", "eva@other.example", [], False),
    ({"assignee": "eva", "group": "finance"}, "eva", "", [], True),
    ({"assignee": "eva", "group": "finance"}, "max", "", ["finance"], True),
    ({"assignee": "eva", "group": "finance"}, "max", "", ["legal"], False),
    ({}, "max", "", [], True),
)
def test_who_may_answer(named: Any, username: str, email: str, groups: list[str], accepted: bool, ready: Ready) -> None:
    question = ask(ready, **named)
    by = person(question.tenant, username, *groups, email=email)
    assert recipients.permits(question, by) is accepted
    for condition in (recipients.addressed_to(by), recipients.mine(by)):
        assert Interaction.objects.filter(condition).exists() is (accepted and bool(named))
    assert Interaction.objects.filter(recipients.answerable_by(by)).exists() is accepted
    for act in (claim, answer):
        if accepted:
            act(question, person=by)
            continue
        caught = raised(errors.RecipientRequired, act, question, person=by)
        assert caught.data == {"assignee": named.get("assignee"), "group": named.get("group")}
    expected = ("COMPLETED", 1) if accepted else ("DISPATCHED", 0)
    assert (making.reread(question).status, question.claim_changes) == expected
    denied = AuditEntry.objects.filter(outcome="denied", object=str(question.pk)).values_list("act", flat=True)
    assert sorted(denied) == ([] if accepted else ["interaction.answer", "interaction.claim"])


@cases(
    ("named", "sentence"),
    ({"assignee": "eva"}, "Only eva may answer."),
    ({"group": "finance"}, "Only members of finance may answer."),
    ({"group": "legal"}, "Only members of legal may answer."),
    ({"assignee": "eva", "group": "finance"}, "Only eva and members of finance may answer."),
    ({}, ""),
)
def test_the_restriction_says_who_may_answer(named: dict[str, str], sentence: str, ready: Ready) -> None:
    question = ask(ready, **named)
    person(ready[0], "eva", "finance")
    expected = (sentence, named == {"group": "legal"})
    assert (recipients.restriction(question), recipients.has_nobody(question)) == expected
    Pipeline.objects.update(recipients=Recipients.INFORM)
    assert (recipients.restriction(question), recipients.has_nobody(question)) == ("", False)
    answer(question)


WITHOUT_RIGHT: dict[str, Callable[[Tenant], Person | None]] = {
    "nobody": lambda owner: None,
    "anonymous": lambda owner: AnonymousUser(),
    "viewer": lambda owner: person(owner, "eva", "finance", role=Role.VIEWER),
    "inactive": lambda owner: person(owner, "eva", "finance", is_active=False),
    "of another tenant": lambda owner: person(making.tenant(), "max", "finance"),
    "superuser": lambda owner: User.objects.create_superuser("root"),
}


@cases("who", WITHOUT_RIGHT)
def test_a_name_or_a_group_alone_is_not_enough(who: str, ready: Ready) -> None:
    question = ask(ready, assignee="eva", group="finance")
    raised(errors.RecipientRequired, answer, question, person=WITHOUT_RIGHT[who](question.tenant))


def test_a_resume_token_needs_no_person_and_a_repeated_answer_no_right(ready: Ready) -> None:
    question = ask(ready, group="finance")
    assert not questions.resume(token_of(question), response={"n": 2}, actor="erp").duplicate
    assert answer(question).duplicate


def test_a_question_is_passed_on_among_its_recipients(ready: Ready) -> None:
    question = ask(ready, group="finance")
    eva, _ = person(question.tenant, "eva", "finance"), person(question.tenant, "bob", "finance")
    person(question.tenant, "max")
    assert list(recipients.candidates(question)) == ["bob", "eva"]
    for by, to, refused in ((eva, "max", errors.DelegateUnknown), (None, "bob", errors.RecipientRequired)):
        raised(refused, claims.delegate, question.tenant, question.pk, actor="user:x", person=by, to=to)
    assert claims.delegate(question.tenant, question.pk, actor="user:x", person=eva, to="bob").delegate == "user:bob"


@cases(
    ("named", "loses", "who"),
    ({"group": "finance"}, {"groups": ["finance", "legal"]}, "bob"),
    ({"group": "finance"}, {"groups": ["legal"]}, "eva"),
    ({"group": "finance"}, {"role": Role.VIEWER}, "eva"),
    ({"assignee": "bob", "group": "finance"}, {"groups": []}, "bob"),
    ({"assignee": "eva"}, {"groups": []}, "eva"),
    ({}, {"groups": []}, "bob"),
    ({}, {"role": Role.VIEWER}, ""),
)
def test_a_question_is_for_its_delegate_who_may_answer(named: Any, loses: Any, who: str, ready: Ready) -> None:
    question = ask(ready, **named)
    people = [person(question.tenant, name, "finance") for name in ("eva", "bob")]
    with unguarded(Interaction):
        Interaction.objects.update(delegate="user:bob")
    Membership.objects.filter(user=people[1]).update(**loses)
    for member in people:
        mine = recipients.mine(member)
        is_mine = Interaction.objects.filter(mine).exists()
        assert (is_mine, Interaction.objects.filter(~mine).exists()) == (who == member.username, who != member.username)


def test_a_reassignment_replaces_the_recipients_and_says_why(ready: Ready) -> None:
    question = ask(ready, group="finance")
    eva, bob = person(question.tenant, "eva", "finance"), person(question.tenant, "bob")
    claim(question, person=eva)
    for members_, refused in (
        ({"assignee": "bob", "reason": " "}, InvalidRequest),
        ({}, InvalidRequest),
        ({"assignee": "nobody"}, errors.RecipientUnknown),
        ({"assignee": "bob", "group": "nobody"}, errors.RecipientUnknown),
    ):
        raised(refused, reassign, question, **members_)
    changed = reassign(question, "bob")
    assert (changed.assignee, changed.group, changed.claimed_by, changed.claim_changes) == ("bob", None, None, 2)
    raised(errors.RecipientRequired, answer, question, person=eva)
    answer(question, person=bob)
    event = InteractionEvent.objects.get(kind="REASSIGNED")
    assert (event.actor, event.note, event.assignee, event.group) == (ADMIN, "away", "bob", None)
    noted = ExecutionEvent.objects.get(execution=question.execution_id, kind=reassignment.EVENT)
    assert (noted.actor, noted.data["reason"]) == (ADMIN, "away")
    assert noted.data["before"] == {"assignee": None, "group": "finance"}
    assert AuditEntry.objects.get(act="interaction.reassign").reason == "away"
    raised(errors.QuestionClosed, reassign, question, "eva")


def test_the_groups_of_a_person_hold_for_all_roles(ready: Ready) -> None:
    owner = ready[0]
    user = person(owner, "eva", role=Role.VIEWER)
    assert members.set_groups(owner, "eva", ["legal", "finance", "legal"], actor=ADMIN) == ["finance", "legal"]
    added, _ = members.add(owner, "eva", Role.OPERATOR, actor=ADMIN)
    assert added.groups == ["finance", "legal"]
    members.set_groups(owner, "eva", ["finance"], actor=ADMIN)
    members.set_groups(owner, "eva", ["finance"], actor=ADMIN)
    assert [membership.groups for membership in Membership.objects.filter(user=user)] == [["finance"]] * 2
    entries = AuditEntry.objects.filter(act="membership.change").order_by("sequence").values_list("details", flat=True)
    assert list(entries) == [
        '{"before":[],"groups":["finance","legal"]}',
        '{"before":["finance","legal"],"groups":["finance"]}',
    ]
    for wrong in ([" x"], ["x" * 101], [""], [f"{n}" for n in range(51)]):
        raised(members.GroupsInvalid, members.set_groups, owner, "eva", wrong, actor=ADMIN)
    raised(members.MemberUnknown, members.set_groups, owner, "max", [], actor=ADMIN)
