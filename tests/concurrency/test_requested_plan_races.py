"""The last vote on a gradual activation races for its pipeline with other starts and with its repeats."""

from functools import partial
from typing import Any

import pytest

from releases.activation.gradual.start import start
from releases.activation.requests.carrying_out import carry_out_due
from releases.models import Activation, ActivationRequest, GradualActivation
from tests import gradual, making
from tests.concurrency.racing import race, results_of
from tests.repetition import rounds
from tests.requesting import candidate, let_pass, open_request, person, soon, voted

pytestmark = pytest.mark.usefixtures("committed")
ROUNDS = rounds(5)
PLAN = gradual.plan(5, 50)


def voting(request: ActivationRequest) -> Any:
    return partial(voted, request, person(request.release.pipeline.tenant))


@pytest.mark.parametrize("_", ROUNDS)
def test_of_two_starts_that_are_approved_at_once_one_happens(_: int) -> None:
    """The other one restarts its votes, or fails and says what moved."""
    release = candidate()
    rival = making.registered(release.pipeline.tenant, "3.0")
    requests = [open_request(each, plan=PLAN) for each in (release, rival)]
    race(*[voting(request) for request in requests])
    won, lost = sorted(ActivationRequest.objects.all(), key=lambda each: each.status != "ACTIVATED")
    assert won.status == "ACTIVATED"
    assert (lost.status, lost.round, lost.code) in {
        ("OPEN", 2, ""),
        ("FAILED", 1, "REQUEST_OUTDATED"),
        ("FAILED", 1, "GRADUAL_ACTIVATION_RUNNING"),
    }
    running = GradualActivation.objects.get()
    assert (running.status, running.candidate, won.activation.gradual) == ("RUNNING", won.release, running)


@pytest.mark.parametrize("_", ROUNDS)
def test_a_start_by_a_person_and_the_clock(_: int) -> None:
    """The first one runs. If the request comes second, it fails."""
    release = candidate(0)
    rival = making.registered(release.pipeline.tenant, "3.0")
    request = open_request(release, plan=PLAN, activate_at=soon())
    let_pass(request, 2)
    race(partial(start, rival, PLAN, actor="user:ann"), carry_out_due)
    request.refresh_from_db()
    running = GradualActivation.objects.get()
    assert (request.status == "ACTIVATED") is (running.candidate == release)
    assert request.status in {"ACTIVATED", "FAILED"}
    assert Activation.objects.filter(pipeline=release.pipeline).count() == 2


@pytest.mark.parametrize("_", ROUNDS)
def test_clocks_start_a_due_request_once(_: int) -> None:
    let_pass(open_request(candidate(0), plan=PLAN, activate_at=soon()), 2)
    results_of(race(*[carry_out_due] * 4))
    assert [each.status for each in ActivationRequest.objects.all()] == ["ACTIVATED"]
    assert GradualActivation.objects.count() == 1
