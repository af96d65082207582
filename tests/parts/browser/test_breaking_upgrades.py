"""A release that is breaking for callers is activated in a real browser: by keyboard alone, and without JavaScript."""

from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import Browser, Page, expect

from releases.models import Activation, Release
from tests import making
from tests.admin.conftest import World
from tests.browsing import SCREEN
from tests.parts.browser.conftest import enter
from tests.running import PASSWORD

FIELD = {"name": "price", "type": {"kind": "scalar", "id": "decimal"}}
PIPELINE = "acme.prices"


def types(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"Order": {"definition": {"id": "Order", "kind": "record", "fields": list(fields)}}}


@pytest.fixture
def breaking(acme: tuple[World, str]) -> Release:
    tenant = acme[0].tenant
    making.active(tenant, "1.0", pipeline_id=PIPELINE, canonicalTypes=types())
    return making.registered(tenant, "2.0", pipeline_id=PIPELINE, canonicalTypes=types(FIELD))


def address(release: Release) -> str:
    return reverse("admin:releases_release_activate", args=[release.pk])


def active_version(release: Release) -> str:
    return Activation.objects.filter(pipeline=release.pipeline).latest("sequence").release.release_version


def test_the_version_is_typed_by_keyboard_alone(page: Page, breaking: Release) -> None:
    page.goto(address(breaking))
    expect(page.locator("[data-differences]")).to_contain_text("breaking-for-callers")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "typed-version":
            break
    page.keyboard.type("1.0")
    page.keyboard.press("Enter")
    expect(page.locator("#activate-form .dc-alarm")).to_contain_text("Type its version, 2.0")
    assert active_version(breaking) == "1.0"
    page.locator("#typed-version").focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("2.0")
    page.keyboard.press("Enter")
    page.wait_for_url("**/releases/pipeline/*/change/")
    assert active_version(breaking) == "2.0"


def test_uploads_and_activations_work_without_javascript(
    browser: Browser, acme: tuple[World, str], breaking: Release
) -> None:
    context = browser.new_context(base_url=acme[1], viewport=SCREEN, java_script_enabled=False)
    page = context.new_page()
    enter(page, PASSWORD)
    page.goto(address(breaking))
    page.fill("#typed-version", "2.0")
    page.get_by_role("button", name="Activate 2.0").click()
    page.wait_for_url("**/releases/pipeline/*/change/")
    assert active_version(breaking) == "2.0"
    page.goto("/admin/releases/release/upload/")
    wrong = {"name": "pipeline-release.json", "mimeType": "application/json", "buffer": b"{}"}
    page.set_input_files("#descriptor", wrong)  # type: ignore[arg-type]  # a file payload
    page.get_by_role("button", name="Upload").click()
    expect(page.locator("[data-problem=DESCRIPTOR_INVALID]")).to_be_visible()
    context.close()
