"""A small pipeline, counted clicks, and the steps of a journey."""

import re
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.running import BuiltRelease, TenantInUse, build

PIPELINE = "tests.orders"
ORDERS = f"""
import time
from dataclasses import dataclass
from pathlib import Path

from pipelines import Pipeline


@dataclass
class Order:
    number: int
    gate: str = ""


@dataclass
class Receipt:
    number: int


pipeline = Pipeline("{PIPELINE}")


@pipeline.step
def settle(order: Order) -> Receipt:
    while order.gate and not Path(order.gate).exists():
        time.sleep(0.05)
    return Receipt(order.number)
"""
"""A pipeline that settles an order once the file `gate` exists, if the order names one."""
BREAKING = ORDERS.replace("    number: int\n    gate", "    number: int\n    currency: str\n    gate")
"""The same pipeline with a field that every order must have."""


class Clicks:
    """Counts the clicks of a person."""

    def __init__(self) -> None:
        self.count = 0

    def on(self, target: Locator) -> None:
        self.count += 1
        target.click()


def release(folder: Path, version: str, source: str = ORDERS) -> BuiltRelease:
    """Build a release in `folder`, as its author would."""
    code = folder / version
    code.mkdir()
    (code / "flow.py").write_text(source)
    return build("flow:pipeline", code, folder / f"{version}-release", version)


def active(tenant: TenantInUse, release: BuiltRelease) -> BuiltRelease:
    """Register a release, activate it and start a worker for it."""
    tenant.register(release)
    tenant.activate(release)
    return hosted(tenant, release)


def hosted(tenant: TenantInUse, release: BuiltRelease) -> BuiltRelease:
    tenant.start_worker(release, f"worker-{tenant.tenant.slug}-{release.version}")
    return release


def open_pipeline(page: Page, clicks: Clicks) -> None:
    """Go from the overview to the page of the pipeline."""
    page.goto("/admin/")
    clicks.on(page.get_by_role("link", name=PIPELINE, exact=True).first)
    expect(page.get_by_role("heading", name=PIPELINE, level=1)).to_be_visible()


def request_activation(page: Page, clicks: Clicks, reason: str, *, typed_version: str = "") -> None:
    """Request the activation on the page that activates a release. The policy asks for one approval."""
    if typed_version:
        page.get_by_label(f"Type {typed_version} to confirm").fill(typed_version)
    page.get_by_label("Reason").fill(reason)
    clicks.on(page.get_by_role("button", name="Request activation"))
    expect(page.get_by_text("The request waits for 1 approval by other people.")).to_be_visible()
    expect(page.get_by_text("This is your request, so other people must vote on it.")).to_be_visible()


def open_request(page: Page, clicks: Clicks, version: str) -> None:
    """Go from the overview to the only request that waits for approval."""
    page.goto("/admin/")
    clicks.on(page.get_by_role("link", name=re.compile("1 activation request waits for approval")))
    clicks.on(page.get_by_role("link", name=version, exact=True))


def approve(page: Page, clicks: Clicks, comment: str) -> None:
    """Approve the request whose page is shown, with the vote that activates the release."""
    page.get_by_label("Comment").fill(comment)
    clicks.on(page.get_by_role("button", name="Approve"))
    expect(page.get_by_text("The vote counts. The request is ACTIVATED.")).to_be_visible()
