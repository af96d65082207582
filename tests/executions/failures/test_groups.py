import json
import uuid
from collections.abc import Callable
from functools import partial

import pytest
from django.contrib.auth.models import User
from django.db import connection
from hypothesis import given, settings
from hypothesis import strategies as st

from executions.errors import AssigneeInvalid, FailureGroupUnknown
from executions.failures import queries
from executions.models import DeadLetter, Execution, FailureGroup, is_new
from releases.models import Pipeline, Release
from tenancy.models import AuditEntry, Membership, Tenant
from tenancy.roles import Role
from tests import making
from tests.cases import cases
from tests.raw_sql import raised
from wire.messages.celery_messages import Failure

STEPS = making.steps("Validate", "Ship")


@pytest.fixture(scope="module")
def world(module_world: None) -> tuple[Tenant, Release]:
    made = making.ready(steps=STEPS)
    Pipeline.objects.update(retry_limit=0)
    return made


def fail(owner: Tenant, *messages: str, code: str = "OSError", step: int | None = 1) -> list[Execution]:
    """Submit an execution for each message, and fail it at `step` with the message."""
    made = [making.execution(owner, str(uuid.uuid4())) for _ in messages]
    claims = {claim.execution_id: claim for claim in making.claimed(owner)}
    outcomes = []
    for execution, message in zip(made, messages, strict=True):
        failure = Failure(failure_class=code, message=message, retryable=True, step_index=step)
        outcomes.append(making.outcome_of(claims[execution.pk], "FAILED", failure=failure))
    assert making.record(*outcomes) == len(messages)
    return made


def fingerprint(message: str, code: str = "OSError") -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT failure_fingerprint(%s, %s)", [code, message])
        [(digest,)] = cursor.fetchall()
    return str(digest)


IDENTIFIERS = st.one_of(
    st.uuids().map(str),
    st.binary(min_size=4, max_size=32).map(lambda value: f"0x{value.hex()}"),
    st.binary(min_size=4, max_size=32).map(bytes.hex),
    st.integers(-(10**12), 10**12).map(str),
    st.integers(0, 10**9).map(lambda value: f"{value:,}"),
    st.floats(0, 10**6, allow_nan=False).map(str),
    st.datetimes().map(lambda value: f"{value:%Y-%m-%d}"),
    st.text("abc xyz", max_size=20).map(lambda value: f'"{value}"'),
)


@settings(max_examples=60)
@given(IDENTIFIERS, IDENTIFIERS)
def test_ids_numbers_and_quoted_texts_do_not_split_a_group(text: str, other: str) -> None:
    for message in ("{}", "order {} (of /{}/{}) was refused: '{}'"):
        first, second = message.replace("{}", text), message.replace("{}", other)
        assert fingerprint(first) == fingerprint(second), (first, second)


@cases(
    ("message", "other"),
    ("can't open the file", "can't close the file"),
    ("HTTP 404", "HTTP 500"),
    ("HTTP/1.1 404 for order 7", "HTTP/1.1 503 for order 7"),
    ("the bank answered status code 402", "the bank answered status code 409"),
    ("ORA-00001: refused", "ORA-00942: refused"),
    ("[Errno 13] cannot write", "[Errno 28] cannot write"),
    ("exit code 1", "exit code 137"),
    ("SQLSTATE 23505", "SQLSTATE 40001"),
)
def test_codes_and_other_words_split_a_group(message: str, other: str) -> None:
    assert len({fingerprint(message), fingerprint(other), fingerprint(message, code="ValueError")}) == 3
    assert fingerprint(f"{message} (attempt 1)") == fingerprint(f"{message} (attempt 22)")


LONG = "order {}: " + "the reason is long. " * 40


@cases(
    ("message", "other"),
    ("no mail to ann@example.org", "no mail to bob.lee+x@mail.example.com"),
    ("no mail to <ann@example.org>, twice", "no mail to <b@e.org>, twice"),
    ("customer Anna Schmidt has no account", "customer Bob Lee-O'Hara Jr. has no account"),
    ("unknown user: Ann", "unknown user: Bob"),
    ("Customer Ann is unknown", "Customer Bob Lee is unknown"),
    ("order 00942 is lost", "order 1 is lost"),
    (LONG.format(1)[:512], LONG.format("9" * 40)[:512]),
)
def test_people_their_addresses_and_the_place_of_a_cut_do_not_split_a_group(message: str, other: str) -> None:
    assert fingerprint(message) == fingerprint(other)
    assert fingerprint(message) != fingerprint("customer has no order")


def test_failures_with_the_same_cause_form_a_group(owner: Tenant, release: Release) -> None:
    first, second, _ = fail(owner, "order 1 is lost", "order 22 is lost", "the disk is full")
    fail(owner, "order 3 is lost")
    lost, full = queries.groups_of(owner).order_by("sample_message")
    assert (lost.error_code, full.sample_message) == ("OSError", "the disk is full")
    assert lost.sample_message in {"order 1 is lost", "order 22 is lost"}
    assert (lost.release, lost.step.index, lost.step.name) == (release, 1, "Ship")
    assert {letter.execution_id for letter in queries.letters(lost)} >= {first.pk, second.pk}
    figures = queries.figures([lost.pk, full.pk])
    assert [figures[group.pk].total for group in (lost, full)] == [3, 1]
    most = queries.figures([lost.pk], most=2)[lost.pk]
    assert (most.more, most.counted, most.still_open) == (True, 2, 2)
    letter = DeadLetter.objects.get(execution=first)
    assert (letter.step_index, letter.failed_step_index, letter.fingerprint) == (0, 1, lost.fingerprint)

    fail(owner, "lost")
    fail(owner, "lost", step=0)
    making.worker(making.active(owner, "2.0", steps=STEPS), "worker-2")
    fail(owner, "lost")
    groups = {(group.release.release_version, group.step_index) for group in queries.groups_of(owner)}
    assert groups == {("1.0", 1), ("1.0", 0), ("2.0", 1)}


@pytest.fixture
def change(owner: Tenant) -> Callable[..., FailureGroup]:
    fail(owner, "lost")
    return partial(queries.change, owner, FailureGroup.objects.get().pk, actor="user:eva")


def person(name: str, owner: Tenant, role: Role) -> None:
    Membership.objects.create(user=User.objects.create_user(name), tenant=owner, role=role)


def test_each_change_of_a_group_has_one_entry(owner: Tenant, change: Callable[..., FailureGroup]) -> None:
    person("ann", owner, Role.ON_CALL)
    group = change(assignee="ann", note="the bank is down")
    assert (group.assignee, group.note, group.is_new) == ("ann", "the bank is down", True)
    group = change(acknowledged=True)
    assert (group.is_new, group.acknowledged_by) == (False, "user:eva")
    assert not FailureGroup.objects.filter(is_new()).exists()
    for repeated in ({"assignee": "ann", "note": "the bank is down"}, {"acknowledged": True}, {}):
        assert not change(**repeated).is_new
    assert change(acknowledged=False, assignee="").acknowledged_by == ""
    entries = AuditEntry.objects.filter(act="failure_group.change", actor="user:eva").order_by("id")
    assert [json.loads(entry.details) for entry in entries] == [
        {"assignee": "ann", "note": "the bank is down", "errorCode": "OSError"},
        {"acknowledged": True, "errorCode": "OSError"},
        {"acknowledged": False, "assignee": "", "errorCode": "OSError"},
    ]


def test_only_operators_of_the_tenant_are_assignees(owner: Tenant, change: Callable[..., FailureGroup]) -> None:
    person("viewer", owner, Role.VIEWER)
    person("stranger", making.tenant(), Role.TENANT_ADMIN)
    User.objects.create_user("root", is_superuser=True)
    for name in ("viewer", "stranger", "nobody", "root"):
        raised(AssigneeInvalid, change, assignee=name, acknowledged=True)
    group = change(assignee="root", actor="user:root")
    assert group.assignee == "root"
    raised(FailureGroupUnknown, queries.change, making.tenant(), group.pk, actor="user:eva", acknowledged=True)
    raised(FailureGroupUnknown, queries.group, making.tenant(), group.pk)
