from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from executions.holds import holds
from executions.models import Execution, Resubmission
from governance.activation.activation import activate
from governance.resubmission.resubmission import resubmit
from governance.retirement.retirement import revoke
from releases.models import Release
from tenancy.models import Tenant
from tests import gradual, making
from tests.concurrency import scenes
from tests.concurrency.racing import race, results_of
from tests.concurrency.sessions import ended_after
from tests.repetition import rounds

ROUNDS = rounds(5)


def scene() -> tuple[Tenant, Execution, Release]:
    owner, _ = making.ready()
    [execution] = making.dead(owner, "key")
    return owner, execution, scenes.fresh(gradual.candidate(owner, "1.1"))


def resubmitting(owner: Tenant, execution: Execution, **members: Any) -> Callable[[], Any]:
    return partial(resubmit, owner, execution.pk, actor="user:ann", reason="", **members)


def consistent() -> None:
    """Assert that each link has its execution and its events, and that each new execution has one link."""
    for link in Resubmission.objects.select_related("execution", "new_execution"):
        assert making.history(link.new_execution)[0] == ("SUBMITTED", "QUEUED")
        named = link.execution.events.filter(kind="RESUBMITTED", data__executionId=str(link.pk))
        assert named.count() == 1
        making.history(link.execution)
    made = Execution.objects.filter(execution_key__startswith="resubmit:")
    assert set(made.values_list("pk", flat=True)) == set(Resubmission.objects.values_list("pk", flat=True))


@pytest.mark.parametrize("_", ROUNDS)
@pytest.mark.parametrize("members", [{"operation_key": "k"}, {"expected_version": 2}], ids=str)
def test_equal_resubmissions_create_one_execution(members: dict[str, Any], _: int) -> None:
    owner, execution, _release = scene()
    made = results_of(race(*[resubmitting(owner, execution, **members) for _ in range(6)]))
    assert len({each.pk for each in made}) == 1
    assert Resubmission.objects.count() == 1
    consistent()


REFUSALS: dict[str, Callable[[Any], object]] = {
    "revocation": partial(revoke, actor="user:bob", reason="leaked"),
    "pause": partial(holds.pause, actor="user:eva", reason="broken", refuses_submissions=True),
    "pause of the pipeline": lambda release: REFUSALS["pause"](release.pipeline),
}


@pytest.mark.parametrize("named", [True, False], ids=["named", "active"])
@pytest.mark.parametrize("act", REFUSALS)
def test_a_resubmission_that_waits_for_a_revocation_or_a_pause_is_refused(act: str, named: bool) -> None:
    owner, execution, release = scene()
    if named:
        making.replaced(release)
    else:
        activate(release, actor="user:ann")
    waiting = resubmitting(owner, execution, release_version="1.1" if named else None)
    error = ended_after(partial(REFUSALS[act], release), waiting).exception()
    revoked = "ReleaseNotAdmitted" if named else "ActiveReleaseRevoked"
    assert type(error).__name__ == (revoked if act == "revocation" else "PipelinePaused")
    assert not Resubmission.objects.exists()


def test_a_resubmission_that_waits_for_an_activation_gets_the_new_release() -> None:
    owner, execution, release = scene()
    made = ended_after(partial(activate, release, actor="user:bob"), resubmitting(owner, execution)).result()
    assert made.release_version == "1.1"
    consistent()
