"""The people, the releases and the notes of a year of one pipeline."""

import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import requests

from tenancy.roles import Role, granted
from tests.e2e.conftest import PIPELINES
from tests.running import BuiltRelease, RunningProduct, TenantInUse, build

PIPELINE = "tests.year"
PATH = f"pipelines/{PIPELINE}"
SOURCE = PIPELINES / "year"
VERSIONS = ("1.0", "2.0", "3.0", "4.0", "5.0")
ROLES = {
    "ada": Role.TENANT_ADMIN,
    "maria": Role.RELEASE_MANAGER,
    "raj": Role.RELEASE_MANAGER,
    "lena": Role.RELEASE_MANAGER,
    "otto": Role.ON_CALL,
    "shop": Role.OPERATOR,
}


class Person(TenantInUse):
    """A member of the tenant, with a token that has the member's name and all scopes of the role."""

    def __post_init__(self) -> None:
        self.http = requests.Session()

    @classmethod
    def of(cls, running: RunningProduct, tenant: TenantInUse, name: str) -> Self:
        role = ROLES[name]
        person = cls(tenant.product, tenant.tenant, running.member(tenant.tenant, role, f"{name}-{tenant.tenant.slug}"))
        person.http.headers["Authorization"] = f"Bearer {person.token(granted([role]), name)}"
        return person

    def post(self, path: str, status: int = 201, **body: Any) -> Any:
        """Send a request about the pipeline, which must have this status, and return the response."""
        return self.send(f"{PATH}/{path}", status, **body)

    def send(self, path: str, status: int, **body: Any) -> Any:
        response = self.http.post(self.url(path), json=body)
        assert response.status_code == status, response.text
        return response.json()

    def refused(self, path: str, status: int, code: str, **body: Any) -> dict[str, Any]:
        """Send a request about the pipeline that must be refused with this code."""
        problem: dict[str, Any] = self.post(path, status, **body)
        assert problem["code"] == code, problem
        return problem


@dataclass
class Year:
    """A year of the pipeline.

    `pins` has the release of each execution, `requests` the request that each release was activated by, and `moments`
    the times to ask about. `failures` are the failed orders of 4.0. `stuck` are those of 5.0 that wait for a retry, and
    `running_order` is one that runs. `long_order` runs on 1.0 for most of the year. `audit_head` names an
    early entry of the audit log.
    """

    tenant: TenantInUse
    ada: Person
    maria: Person
    raj: Person
    lena: Person
    otto: Person
    shop: Person
    releases: dict[str, BuiltRelease]
    folder: Path
    pins: dict[str, str] = field(default_factory=dict)
    requests: dict[str, str] = field(default_factory=dict)
    moments: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    audit_head: str = ""
    long_order: str = ""
    running_order: str = ""

    @classmethod
    def begin(cls, running: RunningProduct, tenant: TenantInUse, folder: Path) -> Self:
        people: dict[str, Any] = {name: Person.of(running, tenant, name) for name in ROLES}
        return cls(tenant, **people, releases={each: _built(each, folder) for each in VERSIONS}, folder=folder)

    def note(self, name: str) -> None:
        """Note the time under a name, to ask later what was active then."""
        self.moments[name] = datetime.now(UTC).isoformat()

    def publish(self, version: str) -> None:
        self.maria.publish(self.releases[version])

    def host(self, version: str) -> None:
        self.tenant.start_worker(self.releases[version], f"worker-{version}")

    def order(self, number: int, version: str | None, *, gate: Path | None = None) -> str:
        """Submit an order, which must get this release, or any if None. Return the id of its execution."""
        value = {"number": number, "gate": str(gate or "")}
        made = self.shop.accepted(PIPELINE, value, f"order {len(self.pins)}")
        execution_id, pinned = made["executionId"], made["pin"]["releaseVersion"]
        assert version in {None, pinned}
        self.pins[execution_id] = pinned
        return str(execution_id)

    def settled(self, number: int, version: str) -> None:
        """Submit an order and wait until this release has settled it."""
        execution_id = self.order(number, version)
        self.tenant.wait_for(execution_id, "SUCCEEDED")
        assert self.tenant.result(execution_id) == {"number": number, "made_by": version}


def _built(version: str, folder: Path) -> BuiltRelease:
    source = folder / f"source-{version}"
    shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns("__pycache__"))
    module = source / "orders.py"
    text, line = module.read_text(), 'VERSION = "1.0"\n'
    assert text.count(line) == 1
    module.write_text(text.replace(line, f'VERSION = "{version}"\n'))
    return build("orders:pipeline", source, folder / f"release-{version}", version)
