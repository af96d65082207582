from functools import partial
from threading import Event
from typing import Any

import pytest

from executions.models import Execution
from executions.submission import admission
from governance.activation.activation import activate
from governance.gradual import changes
from governance.gradual.measured import watch
from governance.retirement.retirement import revoke
from releases.models import Activation, Pipeline, Release
from tests import gradual, making
from tests.concurrency.racing import parted, race, results_of
from tests.repetition import rounds

ROUNDS = rounds(10)
WHO: dict[str, Any] = {"actor": "user:ann"}
WHY: dict[str, Any] = {**WHO, "reason": "because"}


def history() -> list[str]:
    """Return the kinds of all activations of the only pipeline. Its sequence must have no gap."""
    found = list(Activation.objects.order_by("sequence"))
    assert [each.sequence for each in found] == list(range(1, len(found) + 1))
    assert Pipeline.objects.get().activation == found[-1]
    return [each.kind for each in found]


@pytest.mark.parametrize("_", ROUNDS)
@pytest.mark.parametrize("end", ["withdraw", "revoke", "activate"])
def test_no_submission_that_begins_after_the_end_gets_the_candidate(_: int, end: str, settings: Any) -> None:
    """Each submitter restores an admission of before, as a process would have it that cached it at the last moment."""
    settings.SUBMISSION_CACHE_SECONDS = 3600
    owner, old = making.ready()
    made = gradual.started(owner, 100)
    stale = admission.current(owner, making.PIPELINE)
    stale.require_ready()
    assert stale.candidate is not None
    over = Event()

    def submit(name: str) -> list[tuple[bool, str]]:
        found = []
        for number in range(12):
            begins_later = over.is_set()
            admission.cache.set((owner.pk, making.PIPELINE), stale)
            found.append((begins_later, making.submitted(owner, f"{name}-{number}").release_version))
        return found

    def finish() -> list[tuple[bool, str]]:
        if end == "withdraw":
            changes.withdraw(made, **WHY)
        elif end == "revoke":
            revoke(made.candidate, **WHY)
        else:
            activate(Release.objects.select_related("pipeline__tenant").get(pk=old.pk), **WHO)
        over.set()
        return []

    results = results_of(race(*(partial(submit, name) for name in "abc"), finish))
    found = [each for result in results for each in result]
    assert {version for begins_later, version in found if begins_later} <= {"1.0"}
    assert [making.submitted(owner, "last").release_version] == ["1.0"]
    assert Execution.objects.count() == len(found) + 1


@pytest.mark.parametrize("_", ROUNDS)
def test_of_a_promotion_and_a_withdrawal_one_happens(_: int) -> None:
    owner, _old = making.ready()
    made = gradual.started(owner, 5)
    won, lost = parted(
        race(
            partial(changes.promote, gradual.again(made), **WHO), partial(changes.withdraw, gradual.again(made), **WHY)
        )
    )
    assert (len(won), lost) == (1, ["GradualActivationEnded"])
    now = gradual.again(made)
    assert history()[2:] == ["promotion" if now.status == "PROMOTED" else "withdrawal"]
    version = {"PROMOTED": "2.0", "WITHDRAWN": "1.0"}[now.status]
    assert making.submitted(owner, "next").release_version == version


@pytest.mark.parametrize("_", ROUNDS)
@pytest.mark.parametrize("worse", [True, False])
def test_two_watches_act_once(_: int, worse: bool) -> None:
    owner, _old = making.ready()
    made = gradual.started(owner, 5, 50, 100)
    gradual.ended(made.baseline, succeeded=[1.0] * 100)
    gradual.ended(made.candidate, succeeded=[1.0] * 20, failed=20 if worse else 0)
    changed = results_of(race(watch, watch, watch))
    assert sum(changed) == 1
    assert history()[2:] == ["withdrawal" if worse else "gradual"]
    assert gradual.again(made).step == (0 if worse else 1)
