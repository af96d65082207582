"""REST of retirements: the answer with its links, permissions, responses and effects."""

from typing import Any

import pytest

from executions.campaigns import campaigns
from executions.campaigns.filters import Filters
from releases.models import Release, Retirement
from tenancy.roles import Scope
from tests import making
from tests.api.caller import Caller
from tests.raw_sql import rows

pytestmark = pytest.mark.django_db
PATH = f"pipelines/{making.PIPELINE}/retirements"
BODY = {"releaseVersion": "1.0", "reason": "replaced"}


@pytest.fixture(autouse=True)
def static_root(settings: Any) -> None:
    settings.STATIC_ROOT.mkdir(exist_ok=True)


@pytest.fixture
def release() -> Release:
    """Return a release that was active, with a failure, and a queued execution."""
    owner, found = making.ready()
    making.dead(owner, "dead")
    making.execution(owner, "queued")
    making.worker(making.active(owner, "2.0"), "worker-2")
    return found


def everyone(release: Release) -> Caller:
    return Caller(release.pipeline.tenant, *Scope)


def answer(caller: Caller, version: str = "1.0") -> dict[str, Any]:
    found: dict[str, Any] = caller.get(f"{PATH}?releaseVersion={version}")
    return found


def test_the_answer_names_every_blocker_and_links_exactly_its_rows(release: Release) -> None:
    caller = everyone(release)
    owner = release.pipeline.tenant
    campaign = campaigns.start(owner, Filters(error_code="SomeError"), reason="x", rate_per_minute=1, actor="")
    found = answer(caller)
    assert (found["releaseVersion"], found["status"], found["safe"]) == ("1.0", "REGISTERED", False)
    counts = {each["kind"]: (each["count"], each["ignorable"]) for each in found["blockers"]}
    assert counts == {"QUEUED": (1, False), "DEAD_LETTERED": (1, True), "CAMPAIGN": (1, False)}
    hrefs = {each["kind"]: each["href"].split(f"{owner.slug}/", 1)[1] for each in found["blockers"]}
    assert [each["idempotencyKey"] for each in caller.get(hrefs["QUEUED"])["items"]] == ["queued"]
    assert [each["idempotencyKey"] for each in caller.get(hrefs["DEAD_LETTERED"])["items"]] == ["dead"]
    assert [each["campaignId"] for each in caller.get(hrefs["CAMPAIGN"])["items"]] == [str(campaign.pk)]
    assert caller.get(hrefs["CAMPAIGN"].replace("=1.0", "=2.0"))["items"] == []
    [active, *_] = answer(caller, "2.0")["blockers"]
    assert active["kind"] == "ACTIVE"
    assert caller.get(active["href"].split(f"{owner.slug}/", 1)[1])["pipelineId"] == making.PIPELINE


def test_a_blocked_retirement_changes_nothing_and_names_the_blockers(release: Release) -> None:
    before = rows(Release)
    refused = everyone(release).call("POST", PATH, {**BODY, "ignoreFailures": True}, status=409)
    assert (refused["code"], refused["blockers"]) == ("RETIREMENT_BLOCKED", [{"kind": "QUEUED", "count": 1}])
    assert (rows(Release), rows(Retirement)) == (before, [])


def test_failures_are_given_up_on_request_and_the_release_shows_its_retirement(release: Release) -> None:
    caller = everyone(release)
    execution = release.executions.get(execution_key="queued")
    caller.call("POST", f"executions/{execution.pk}/cancel", {})
    refused = caller.call("POST", PATH, BODY, status=409)
    assert refused["blockers"] == [{"kind": "DEAD_LETTERED", "count": 1}]
    made = caller.call("POST", PATH, {**BODY, "ignoreFailures": True}, status=201)
    assert made["givenUpFailures"] == 1
    assert (made["releaseVersion"], made["actor"], made["reason"]) == ("1.0", f"token:{caller.token}", "replaced")
    shown = caller.get(f"pipelines/{making.PIPELINE}/releases/1.0")
    assert (shown["status"], shown["retirement"], shown["revocation"]) == ("RETIRED", made, None)
    assert caller.call("POST", PATH, {**BODY, "reason": "again"}, status=201) == made
    assert answer(caller)["safe"] is False
    dead = release.executions.get(execution_key="dead")
    refused = caller.call("POST", f"executions/{dead.pk}/redrive", {"allowRevoked": True}, status=409)
    assert refused["code"] == "RELEASE_RETIRED"
    refused = caller.call("POST", f"pipelines/{making.PIPELINE}/activations", {"releaseVersion": "1.0"}, status=409)
    assert (refused["code"], refused["releaseStatus"]) == ("RELEASE_NOT_REGISTERED", "RETIRED")


def test_a_redrive_and_a_campaign_on_a_revoked_release_need_a_confirmation(release: Release) -> None:
    caller = everyone(release)
    order = {**BODY, "reason": "leaked", "openExecutions": "fail"}
    revoked = caller.call("POST", f"pipelines/{making.PIPELINE}/revocations", order, status=201)
    assert (revoked["openExecutions"], revoked["failedExecutions"], revoked["completedAt"]) == ("fail", 0, None)
    dead = release.executions.get(execution_key="dead")
    refused = caller.call("POST", f"executions/{dead.pk}/redrive", {}, status=409)
    named = {"releaseVersion": "1.0", "revocationReason": "leaked", "activeReleaseVersion": "2.0"}
    assert refused["code"] == "RELEASE_REVOKED_CONFIRMATION"
    assert named.items() <= refused.items()
    filters = {"filters": {"pipelineId": making.PIPELINE}}
    [previewed] = caller.call("POST", "campaigns/preview", filters)["revokedReleases"]
    assert (previewed["releaseVersion"], previewed["revocationReason"], previewed["count"]) == ("1.0", "leaked", 1)
    start = {**filters, "reason": "x", "ratePerMinute": 1}
    refused = caller.call("POST", "campaigns", start, status=409)
    assert (refused["code"], refused["revokedReleases"]) == ("RELEASE_REVOKED_CONFIRMATION", [previewed])
    assert caller.call("POST", "campaigns", {**start, "allowRevoked": True}, status=201)["allowRevoked"] is True
    assert caller.call("POST", f"executions/{dead.pk}/redrive", {"allowRevoked": True})["status"] == "QUEUED"


@pytest.mark.parametrize("scope", [scope for scope in Scope if scope is not Scope.ACTIVATE])
def test_no_other_scope_permits_a_retirement(release: Release, scope: Scope) -> None:
    caller = Caller(release.pipeline.tenant, scope)
    assert caller.call("POST", PATH, BODY, status=403)["code"] == "SCOPE_MISSING"
    assert rows(Retirement) == []


def test_only_readers_get_the_answer(release: Release) -> None:
    caller = Caller(release.pipeline.tenant, Scope.ACTIVATE)
    assert caller.call("GET", f"{PATH}?releaseVersion=1.0", status=403)["code"] == "SCOPE_MISSING"


def test_a_release_of_another_tenant_is_neither_shown_nor_retired(release: Release) -> None:
    caller = Caller(making.tenant(), *Scope)
    assert caller.call("POST", PATH, BODY, status=404)["code"] == "PIPELINE_UNKNOWN"
    assert caller.call("GET", f"{PATH}?releaseVersion=1.0", status=404)["code"] == "PIPELINE_UNKNOWN"
    assert rows(Retirement) == []


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("", 400, "INVALID_REQUEST"),
        ("?releaseVersion=", 400, "INVALID_REQUEST"),
        ("?releaseVersion=1.0&more=1", 400, "INVALID_REQUEST"),
        ("?releaseVersion=9.9", 404, "RELEASE_UNKNOWN"),
    ],
)
def test_an_invalid_question_is_refused(release: Release, query: str, status: int, code: str) -> None:
    assert everyone(release).call("GET", PATH + query, status=status)["code"] == code


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"releaseVersion": "1.0"}, 400, "INVALID_REQUEST"),
        ({**BODY, "reason": ""}, 400, "INVALID_REQUEST"),
        ({**BODY, "ignoreFailures": "yes"}, 400, "INVALID_REQUEST"),
        ({**BODY, "more": 1}, 400, "INVALID_REQUEST"),
        ({**BODY, "releaseVersion": "9.9"}, 404, "RELEASE_UNKNOWN"),
    ],
)
def test_an_invalid_retirement_changes_nothing(release: Release, body: Any, status: int, code: str) -> None:
    assert everyone(release).call("POST", PATH, body, status=status)["code"] == code
    assert rows(Retirement) == []
