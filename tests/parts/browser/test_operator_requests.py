"""An interaction that two people complete in a real browser, with every process running."""

import re
from pathlib import Path

from playwright.sync_api import expect

from tenancy.roles import Role
from tests.browsing import LogIn
from tests.building import copy_awaiting
from tests.running import TenantInUse, build


def test_an_interaction_is_completed_and_the_execution_succeeds(
    tenant: TenantInUse, log_in: LogIn, name: str, tmp_path: Path
) -> None:
    copy_awaiting(tmp_path / "approval")
    approval = build("awaiting:approval", tmp_path / "approval", tmp_path / "approval-release", "1.0")
    tenant.register(approval)
    tenant.activate(approval)
    tenant.start_worker(approval, f"worker-{name}")
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
