"""Operators' requests and completed interactions in a real browser, with every process running."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tenancy.roles import Role
from tests.browsing import LogIn
from tests.building import copy_awaiting
from tests.parts.browser.conftest import PIPELINES
from tests.running import BuiltRelease, TenantInUse, build, eventually


@pytest.fixture
def approval(tmp_path: Path) -> BuiltRelease:
    folder = tmp_path / "approval"
    copy_awaiting(folder)
    return build("awaiting:approval", folder, tmp_path / "approval-release", "1.0")


@pytest.fixture
def gated(tmp_path: Path) -> BuiltRelease:
    return build("gated:pipeline", PIPELINES / "gated", tmp_path / "gated", "1.0")


def hosted(tenant: TenantInUse, release: BuiltRelease, worker: str) -> TenantInUse:
    tenant.register(release)
    tenant.activate(release)
    tenant.start_worker(release, worker)
    return tenant


def failed(tenant: TenantInUse, gate: Path, count: int) -> list[str]:
    """Submit executions that end in DLQ and succeed once `gate` exists. Return their ids."""
    execution_ids = [
        tenant.accepted("tests.gated", {"number": number, "gate": str(gate)}, f"k{number}")["executionId"]
        for number in range(count)
    ]
    for execution_id in execution_ids:
        assert tenant.wait_for(execution_id, "DLQ", "SUCCEEDED", seconds=60)["status"] == "DLQ"
    return execution_ids


def press(page: Page, link: str, reason: str) -> None:
    """Follow a button to its confirmation page, enter the reason and confirm."""
    page.get_by_role("link", name=link, exact=True).click()
    page.get_by_label("Reason").fill(reason)
    page.locator("#confirmation-form button[type=submit]").click()
    page.wait_for_url("**/change/")


def test_an_interaction_is_completed_and_the_execution_succeeds(
    tenant: TenantInUse, log_in: LogIn, approval: BuiltRelease, name: str
) -> None:
    hosted(tenant, approval, f"worker-{name}")
    execution_id = tenant.accepted("tests.approval", {"number": 4}, "k")["executionId"]
    tenant.wait_for(execution_id, "WAITING_EXTERNAL")
    page = log_in(tenant, Role.OPERATOR)
    page.get_by_role("link", name=re.compile("Waiting for answers")).first.click()
    page.get_by_role("link", name="Approve", exact=True).click()
    expect(page.locator("[data-request]")).to_contain_text("Number")
    expect(page.locator("[data-request]")).to_contain_text("8")
    expect(page.locator("[data-pin]")).to_contain_text("1.0")

    # After a rejected response the page shows the field, the rule and the entered text.
    draft = '{"accepted": "perhaps"}'
    page.get_by_text("Advanced: answer with JSON").click()
    page.get_by_label("JSON of the type").fill(draft)
    page.get_by_role("button", name="Answer with this JSON").click()
    findings = page.locator("[data-problem=ANSWER_INVALID] [data-findings]")
    expect(findings).to_contain_text("response.accepted")
    expect(page.get_by_label("JSON of the type")).to_have_value(draft)
    assert tenant.execution(execution_id)["status"] == "WAITING_EXTERNAL"

    # A second person with an older page sees the first response.
    second = log_in(tenant, Role.TENANT_ADMIN)
    second.goto(page.url.replace("/answer/", "/change/"))
    page.get_by_role("radio", name="Yes").check()
    page.locator("[name='answer.note']").fill("fine by me")
    page.get_by_role("button", name="Answer", exact=True).press("Enter")
    page.wait_for_url("**/change/")
    expect(page.locator("[data-answer]")).to_contain_text("fine by me")
    expect(page.locator("[data-answer]")).to_contain_text(f"operator-{tenant.tenant.slug}")
    second.get_by_role("radio", name="No", exact=True).check()
    second.get_by_role("button", name="Answer", exact=True).click()
    second.wait_for_url("**/change/")
    expect(second.get_by_text(f"user:operator-{tenant.tenant.slug} answered first")).to_be_visible()
    expect(second.locator("[data-answer]")).to_contain_text("fine by me")

    page.locator("[data-execution]").click()
    live = page.locator("#execution-live")
    expect(live).to_have_attribute("data-status", "SUCCEEDED")
    page.get_by_role("link", name="Input and result").click()
    expect(live).to_contain_text("settled: fine by me")
    page.get_by_role("link", name="Events").click()
    expect(page.locator("[data-events]")).to_contain_text(f"user:operator-{tenant.tenant.slug}")


def test_a_dead_letter_is_redriven_from_its_page_and_a_stale_page_is_rejected(
    tenant: TenantInUse, log_in: LogIn, gated: BuiltRelease, name: str, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    [execution_id] = failed(hosted(tenant, gated, f"worker-{name}"), gate, 1)
    page, late = log_in(tenant, Role.OPERATOR), log_in(tenant, Role.TENANT_ADMIN)
    late.goto(f"/admin/executions/execution/{execution_id}/redrive/")
    page.get_by_role("link", name="Failures").first.click()
    page.locator("#result_list").get_by_role("link").first.click()
    page.locator("[data-letters]").get_by_role("link").first.click()
    expect(page.locator("[data-error]")).to_contain_text("gated.GateClosed")
    gate.touch()
    press(page, "Re-drive", "the gate is open")
    live = page.locator("#execution-live")
    expect(live).to_have_attribute("data-status", "SUCCEEDED")
    expect(page.get_by_role("link", name="Re-drive", exact=True)).to_have_count(0)
    page.get_by_role("link", name="Events").click()
    expect(page.locator("[data-events]")).to_contain_text("the gate is open")
    late.get_by_role("button", name="Re-drive").click()
    expect(late.locator("[data-problem=REDRIVE_REFUSED]")).to_be_visible()
    expect(late.locator("[data-refusal]")).to_contain_text("It is SUCCEEDED")


def test_a_campaign_is_previewed_started_paused_and_resumed(
    tenant: TenantInUse, log_in: LogIn, gated: BuiltRelease, name: str, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    execution_ids = failed(hosted(tenant, gated, f"worker-{name}"), gate, 4)
    page = log_in(tenant, Role.OPERATOR)
    page.get_by_role("link", name="Campaigns").first.click()
    page.get_by_role("link", name="Start a campaign").click()
    page.get_by_label("Error code").fill("gated.GateClosed")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("[data-count]")).to_have_text("4")
    expect(page.locator("[data-sample] tbody tr")).to_have_count(4)
    assert [each["status"] for each in tenant.get("campaigns")["items"]] == ["DRAFT"]

    gate.touch()
    page.get_by_label("Reason").fill("the gate is open")
    page.get_by_label("Maximum rate per minute").fill("30")
    page.get_by_role("button", name="Start: re-drive 4").click()
    expect(page.locator("#campaign-live")).to_be_visible()
    page.evaluate("window.neverReloaded = true")
    live = page.locator("#campaign-live")
    expect(live).to_have_attribute("data-redriven", re.compile("[123]"), timeout=30_000)
    assert page.evaluate("window.neverReloaded") is True
    press(page, "Pause", "to look at the first")
    expect(live).to_have_attribute("data-status", "PAUSED")
    press(page, "Resume", "they succeed")
    expect(live).to_have_attribute("data-status", "COMPLETED", timeout=30_000)
    expect(page.locator("[data-items]")).to_contain_text("REDRIVEN")
    for text in ("STARTED", "PAUSED", "to look at the first", "RESUMED", "they succeed", "COMPLETED"):
        expect(page.locator("[data-trail]")).to_contain_text(text)
    for execution_id in execution_ids:
        tenant.wait_for(execution_id, "SUCCEEDED")
    expect(page.locator("[data-items] tbody")).to_have_text(re.compile("(SUCCEEDED.*){4}", re.S), timeout=20_000)


def test_a_worker_is_drained_and_undrained(tenant: TenantInUse, log_in: LogIn, v1: BuiltRelease, name: str) -> None:
    worker = f"worker-{name}"
    hosted(tenant, v1, worker)
    page = log_in(tenant, Role.OPERATOR)
    page.goto("/admin/executions/worker/")
    page.get_by_role("link", name=worker).click()
    press(page, "Drain", "its host is shut down")
    expect(page.locator("[data-drain]")).to_contain_text("its host is shut down")
    expect(page.locator("[data-drain]")).to_contain_text(f"user:operator-{tenant.tenant.slug}")
    expect(page.locator("[data-worker-events]")).to_contain_text("OPERATOR_DRAINED")
    tenant.wait_for_worker(worker, "DRAINING")
    assert tenant.submit("tests.pinned", {"number": 1}, "k").status_code == 503
    press(page, "Undrain", "it is back")
    expect(page.locator("[data-drain]")).to_have_count(0)

    def accepted() -> Any:
        response = tenant.submit("tests.pinned", {"number": 1}, "k")
        return response.json() if response.status_code == 202 else None

    response = eventually(accepted, what="the first submission")
    tenant.wait_for(response["executionId"], "SUCCEEDED")


@pytest.mark.parametrize("width", [390, 1440])
def test_no_page_is_wider_than_its_window(
    width: int, tenant: TenantInUse, log_in: LogIn, gated: BuiltRelease, name: str, tmp_path: Path
) -> None:
    [execution_id] = failed(hosted(tenant, gated, f"worker-{name}"), tmp_path / "gate", 1)
    page = log_in(tenant, Role.OPERATOR)
    page.set_viewport_size({"width": width, "height": 800})
    for address in (
        "executions/interaction/",
        "executions/deadletter/",
        f"executions/execution/{execution_id}/change/",
        f"executions/execution/{execution_id}/redrive/",
        f"executions/campaign/start/?tenant={tenant.tenant.slug}&pipeline_id=tests.gated",
        "executions/worker/",
    ):
        page.goto(f"/admin/{address}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, address
