"""Each journey runs in three ways, so that mouse, keyboard, both themes and both widths occur in it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Browser

from tenancy.roles import Role
from tests.parts.browser.journeys.person import Person, Way
from tests.parts.browser.journeys.table import recorded
from tests.running import RunningProduct, TenantInUse

WAYS = (Way("mouse", "light", 1280), Way("mouse", "dark", 360), Way("keyboard", "dark", 1280))


@dataclass
class Journey:
    """What people do in one story, each in a browser of their own."""

    way: Way
    browser: Browser
    people: list[Person] = field(default_factory=list)

    def person(self, tenant: TenantInUse, role: Role) -> Person:
        """Return a person who has signed in with this role."""
        user = User.objects.filter(memberships__tenant=tenant.tenant, memberships__role=role).first()
        member = user or RunningProduct(tenant.product).member(tenant.tenant, role)
        return self.visitor(tenant.product.url).signs_in(member.username)

    def visitor(self, url: str) -> Person:
        self.people.append(Person(self.browser, url, self.way))
        return self.people[-1]


@pytest.fixture(params=WAYS, ids=str)
def journey(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Journey]:
    """A story of people. It ends on pages without findings, and costs as many clicks or keys as the table says."""
    way: Way = request.param
    journey, failed = Journey(way, browser), request.session.testsfailed
    yield journey
    if request.session.testsfailed > failed:
        return
    assert [problem for person in journey.people for problem in person.leaves()] == []
    name: Any = request.node.originalname
    recorded(name.removeprefix("test_"), way, sum(person.count for person in journey.people))
