"""An outage of the broker that lasts longer than WORKER_STALE_SECONDS, under load. It only delays work."""

from collections.abc import Iterator

import pytest

from tests.parts.recovery.cluster import Cluster
from tests.parts.recovery.outage import outage, submit_for
from tests.parts.recovery.scenario import Scenario

STALE_SECONDS = 4
OUTAGE_SECONDS = 8


@pytest.fixture
def short_timeout_scenario(scenario: Scenario) -> Iterator[Scenario]:
    """The scenario with a coordinator for which a worker is stale after STALE_SECONDS without a heartbeat."""
    scenario.open_gate("first")
    scenario.ended(scenario.submit("first"))  # the worker now sends heartbeats as often as its short lease requires
    environment = scenario.cluster.product.environment
    before = environment["WORKER_STALE_SECONDS"]
    environment["WORKER_STALE_SECONDS"] = str(STALE_SECONDS)
    restart(scenario.cluster)
    try:
        yield scenario
    finally:
        environment["WORKER_STALE_SECONDS"] = before
        restart(scenario.cluster)


def restart(cluster: Cluster) -> None:
    for name in ("web", "control-1"):
        cluster.restart(name)
    cluster.restore()
    cluster.client().wait_for_worker("worker")


def test_submissions_are_accepted_during_an_outage_and_their_histories_stay_short(
    short_timeout_scenario: Scenario,
) -> None:
    scenario = short_timeout_scenario
    for fault in ("down", "full"):
        before = submit_for(scenario, f"before-{fault}", 2)
        long_running = scenario.submit(f"long-{fault}")
        scenario.wait_for_run(f"long-{fault}")
        with outage(scenario.cluster, fault):
            during = submit_for(scenario, f"during-{fault}", OUTAGE_SECONDS)
        after = submit_for(scenario, f"after-{fault}", STALE_SECONDS + 2)
        scenario.open_gate(f"long-{fault}")
        ended = scenario.ended(long_running)

        assert (ended.count("CLAIMED"), scenario.runs(f"long-{fault}")) == (1, 1), ended.kinds
        assert {each["httpStatus"] for each in before + during + after} == {202}
        assert not any(each["dispatchDelayed"] for each in before)
        assert all(each["dispatchDelayed"] for each in during[len(during) // 2 :])
        for each in before + during + after:
            history = scenario.ended(each["executionId"], seconds=90)
            assert history.status == "SUCCEEDED"
            assert history.count("CLAIMED") <= 3, history.kinds
        assert not submit_for(scenario, f"last-{fault}", 0.1)[0]["dispatchDelayed"]
