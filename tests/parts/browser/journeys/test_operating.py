"""Journeys of those who keep it running, in a tenant whose worker hosts release 1.0."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tenancy.roles import Role
from tests.e2e.orders import PIPELINES
from tests.parts.browser.journeys.conftest import Journey
from tests.running import RunningProduct, TenantInUse, build

PIPELINE = "tests.pinned"
WORKER = "worker-of-the-shop"


@pytest.fixture(scope="module")
def shop(running: RunningProduct, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TenantInUse]:
    folder = tmp_path_factory.mktemp("shop")
    shop = running.tenant("shop")
    shop.host(build("pinned:pipeline", PIPELINES / "v1", folder / "v1", "1.0"), WORKER)
    shop.register(build("pinned:pipeline", PIPELINES / "v2", folder / "v2", "2.0"))
    yield shop
    shop.stop_workers()


def submitted(shop: TenantInUse, key: str, number: int = 7, **more: object) -> str:
    return str(shop.eventually_accepted(PIPELINE, {"number": number, **more}, key)["executionId"])


def test_pause_and_resume(journey: Journey, shop: TenantInUse, name: str) -> None:
    manager = journey.person(shop, Role.RELEASE_MANAGER)
    manager.opens(PIPELINE).unfolds("More").opens("Pause the pipeline")
    manager.sees("New executions are accepted and wait.").fills("Reason", "The bank is down").presses("Pause")
    manager.sees("The bank is down")
    waits = submitted(shop, name)
    manager.goes_to("Overview").opens(PIPELINE).opens("Resume the pipeline")
    assert shop.execution(waits)["status"] == "QUEUED"
    manager.presses("Resume").sees(f"The pipeline {PIPELINE} is resumed.")
    shop.wait_for(waits, "SUCCEEDED")


def test_drain(journey: Journey, shop: TenantInUse, name: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    runs = submitted(shop, name, gate=str(gate))
    shop.wait_until_begun(runs)
    operator = journey.person(shop, Role.OPERATOR)
    operator.goes_to("Workers").opens(WORKER).opens("Drain").sees("It finishes the transitions in progress")
    operator.fills("Reason", "The host gets a new kernel").presses("Drain").sees("DRAINING")
    gate.touch()
    operator.sees("Nothing is running, and it accepts no new executions. It can be stopped.")
    assert shop.wait_for(runs, "SUCCEEDED")
    operator.opens("Undrain").presses("Undrain").sees("HEALTHY")
    shop.wait_for_worker(WORKER, "HEALTHY")


def test_find_by_key_and_by_value(journey: Journey, shop: TenantInUse, name: str) -> None:
    number = int(name.removeprefix("t-"), 16)
    execution = shop.wait_for(submitted(shop, f"order {name}", number), "SUCCEEDED")
    operator = journey.person(shop, Role.OPERATOR)
    operator.goes_to("Executions").enters("The key or id, or its beginning", f"order {name}").sees("1 execution")
    operator.opens_row(f"order {name}").sees("SUCCEEDED").goes_to("Executions").unfolds("Filters")
    operator.fills("Pipeline", PIPELINE).presses("Search").sees("number")
    operator.fills("number", str(number)).presses("Search").sees("1 execution").opens_row(f"order {name}")
    operator.opens("Input and result").sees(str(number))
    assert execution["executionId"] in operator.page.url


def test_compare(journey: Journey, shop: TenantInUse, name: str) -> None:
    for key, number in (("first", 1), ("second", 2)):
        shop.wait_for(submitted(shop, f"{key} {name}", number), "SUCCEEDED")
    operator = journey.person(shop, Role.OPERATOR)
    operator.goes_to("Executions").enters("The key or id, or its beginning", f"first {name}").opens_row(f"first {name}")
    operator.opens("Input and result").enters("Id or key of another execution", f"second {name}")
    operator.sees("Differences of input and result", "input.number")
    operator.goes_to("Pipelines").opens(PIPELINE).unfolds("More").opens("Compare releases")
    operator.selects("From", "1.0 (active)").selects("to", "2.0").presses("Compare").sees("From release 1.0 to 2.0")


def test_prove_which_code_ran(journey: Journey, shop: TenantInUse, name: str) -> None:
    ran = submitted(shop, name)
    shop.wait_for(ran, "SUCCEEDED")
    auditor = journey.person(shop, Role.AUDITOR)
    auditor.goes_to("Executions").enters("The key or id, or its beginning", name).opens_row(name)
    auditor.opens("Provenance: which exact code ran this?").sees("Which exact code ran this?", WORKER)
    envelope = json.loads(auditor.downloads("Download the signed document"))
    assert envelope["signatures"]


def test_what_was_active_then(journey: Journey, shop: TenantInUse) -> None:
    auditor = journey.person(shop, Role.AUDITOR)
    auditor.goes_to("Pipelines").opens("What was active?").enters("Time", "yesterday 9")
    auditor.sees("No pipeline of shop had an active release.").enters("Time", "soonish").sees(
        "It must be a time such as"
    )
    auditor.enters("Time", "now").sees("1 pipeline of shop")
    assert auditor.downloads("Download the signed document")
