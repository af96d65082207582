import json
from typing import Any

import pytest

from tests.cases import cases
from tests.raising import error_of
from wire.messages import task_messages
from wire.messages.queues import EXECUTE_TASK, HEARTBEAT_TASK, INSTRUCTION_TASK, RECORD_TASK
from wire.messages.task_messages import MOST_BYTES, groups

KEYS = task_messages.signing_keys(["new", "old"])
HEADER = {"task": "signed", "eta": None, "expires": None, "retries": 0}
UNSIGNED_HEADER = {**HEADER, "task": "bare"}
ENVELOPE = {"kind": "outcomes"}
EVERYWHERE = task_messages.TaskMessages(accepts=lambda _queue, _task: True, keys=KEYS)


def accepts(queue: str, task: str) -> bool:
    return queue == "queue" and task in {"signed", "bare"}


RECEIVER = task_messages.TaskMessages(accepts=accepts, unsigned=["bare"], keys=KEYS)


def body(*arguments: Any, named: Any = None, following: Any = task_messages.NOTHING_FOLLOWS) -> bytes:
    return json.dumps([list(arguments), named or {}, following]).encode()


def written(header: dict[str, Any] = HEADER, content: bytes = body(1), *, queue: str = "queue", key: int = 0) -> bytes:
    return task_messages.TaskMessages(keys=KEYS[key:]).write(queue, header, content)


def unsigned(header: dict[str, Any] = UNSIGNED_HEADER, content: bytes = body(ENVELOPE)) -> bytes:
    return task_messages.TaskMessages().write("queue", header, content)


def refusal(message: bytes, *, queue: str = "queue", receiver: task_messages.TaskMessages = RECEIVER) -> str:
    return error_of(task_messages.MessageRefused, receiver.read, queue, message).code


def sent(message: bytes, seconds_ago: float) -> bytes:
    """Return `message`, signed again with a time of sending that is `seconds_ago` earlier."""
    _, text, content = message.split(b"\n", 2)
    header = json.loads(text)
    moment = header.pop("sentAt") - seconds_ago
    other = task_messages.TaskMessages(keys=KEYS, clock=lambda: moment)
    return other.write("queue", header, content)


def test_the_first_key_signs_and_a_signature_with_any_of_the_keys_is_accepted() -> None:
    for key in (0, 1):
        assert RECEIVER.read("queue", written(key=key)) == task_messages.TaskMessage("signed", [1])
    only_new = task_messages.TaskMessages(accepts=accepts, keys=KEYS[:1])
    assert only_new.read("queue", written()).task == "signed"
    assert refusal(written(key=1), receiver=only_new) == "SIGNATURE_INVALID"


@cases("members", [{"retries": 1}, {"eta": "2026-01-01T00:00:00+00:00"}, {"expires": "2026-01-01T00:00:00+00:00"}])
def test_an_unsigned_task_has_no_delay_expiry_or_retries(members: dict[str, Any]) -> None:
    assert refusal(unsigned({**UNSIGNED_HEADER, **members})) == "SIGNATURE_INVALID"


FORGED = task_messages.TaskMessages(keys=task_messages.signing_keys(["other"])).write("queue", HEADER, body(1))


@cases(
    ("message", "queue", "receiver", "code"),
    [
        (unsigned(HEADER, body(1)), "queue", RECEIVER, "SIGNATURE_INVALID"),
        (FORGED, "queue", RECEIVER, "SIGNATURE_INVALID"),
        (written(), "other", EVERYWHERE, "SIGNATURE_INVALID"),
        (written(queue="other"), "other", RECEIVER, "TASK_NOT_ACCEPTED"),
        (written({**HEADER, "task": "celery.group"}), "queue", RECEIVER, "TASK_NOT_ACCEPTED"),
        (written(), "queue", task_messages.TaskMessages(keys=KEYS), "TASK_NOT_ACCEPTED"),
    ],
)
def test_a_message_is_accepted_only_with_its_signature_for_its_queue_and_task(
    message: bytes, queue: str, receiver: task_messages.TaskMessages, code: str
) -> None:
    assert EVERYWHERE.read("queue", written()).task == "signed"
    assert refusal(message, queue=queue, receiver=receiver) == code


def test_a_message_may_wait_and_clocks_may_differ_within_bounds() -> None:
    for seconds in (task_messages.LONGEST_AGE - 5, 0, -115):
        assert RECEIVER.read("queue", sent(written(), seconds)).task == "signed"
    for seconds in (task_messages.LONGEST_AGE + 5, -125):
        assert refusal(sent(written(), seconds)) == "MESSAGE_EXPIRED"


def test_the_task_of_a_worker_is_accepted_without_a_signature_and_at_any_age() -> None:
    assert RECEIVER.read("queue", unsigned()) == task_messages.TaskMessage("bare", [ENVELOPE])
    assert RECEIVER.read("queue", sent(written(UNSIGNED_HEADER, body(ENVELOPE)), 1e6)).task == "bare"


BAD: dict[str, list[Any]] = {
    "task": [1, "t" * 101],
    "eta": [5, "now", "2026-01-01T00:00:00"],
    "expires": ["2026-13-01T00:00:00+00:00"],
    "retries": [-1, "0", 10**30],
    "timelimit": [[1, 1]],
}
CHAIN = {**task_messages.NOTHING_FOLLOWS, "chain": [{"task": "signed"}]}
OTHER_BODIES = [b"null", b"[[], {}]", b"[" * 100_000, b"\xff", body(1, named={"a": 1}), body(1, following=CHAIN)]
LARGE_ENVELOPES = {"a": [0] * task_messages.MOST_ENVELOPE_VALUES}, dict.fromkeys(map(str, range(1_000)))
NO_ENVELOPES = [body(), body("text"), body(ENVELOPE, ENVELOPE), *map(body, LARGE_ENVELOPES)]


@cases(
    "message",
    [
        *(written({**HEADER, member: bad}) for member, values in BAD.items() for bad in values),
        *(written(content=content) for content in OTHER_BODIES),
        *(written(UNSIGNED_HEADER, content) for content in NO_ENVELOPES),
        *(unsigned(content=content) for content in (*OTHER_BODIES, *NO_ENVELOPES)),
    ],
)
def test_a_message_in_another_form_is_refused(message: bytes) -> None:
    """The task of a worker has one envelope, whose values are bounded."""
    assert refusal(message) == "MESSAGE_MALFORMED"


def test_only_tasks_with_payloads_have_large_messages() -> None:
    large = body("x" * task_messages.LONGEST_SMALL_MESSAGE)
    receiver = task_messages.TaskMessages(accepts=lambda _queue, _task: True, keys=KEYS)
    for task in (RECORD_TASK, EXECUTE_TASK):
        assert receiver.read("queue", written({**HEADER, "task": task}, large)).task == task
    for task in (HEARTBEAT_TASK, INSTRUCTION_TASK, "signed"):
        with pytest.raises(task_messages.MessageRefused, match="MESSAGE_TOO_LARGE"):
            written({**HEADER, "task": task}, large)
        forged = written({**HEADER, "task": RECORD_TASK}, large).replace(RECORD_TASK.encode(), task.encode(), 1)
        assert refusal(forged, receiver=receiver) == "MESSAGE_TOO_LARGE"


def test_groups_keep_the_order_and_are_bounded_by_number_and_bytes() -> None:
    assert list(groups([1, 2, 3, 4, 5], [1] * 5, most=2)) == [[1, 2], [3, 4], [5]]
    sizes = [10, MOST_BYTES - 5, 10, MOST_BYTES * 3, 10]
    assert list(groups("abcde", sizes, most=100)) == [["a"], ["b"], ["c"], ["d"], ["e"]]
    assert list(groups("abc", [10, MOST_BYTES - 10, 1], most=100)) == [["a", "b"], ["c"]]
