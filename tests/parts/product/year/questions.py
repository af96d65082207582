"""The questions after the year, each with its exact answer."""

import base64
import json
import subprocess
from typing import Any

from embedded.product import BIN
from tests.parts.product.year.story import PATH, Year

ACTIVE = {
    "first": ("1.0", "activation", "token:maria", "the first release"),
    "refused": ("1.0", "activation", "token:maria", "the first release"),
    "second": ("2.0", "activation", "token:maria", "faster, on a Monday"),
    "withdrawn request": ("2.0", "activation", "token:maria", "faster, on a Monday"),
    "third": ("3.0", "activation", "token:maria", "at noon"),
    "gradual": ("3.0", "activation", "token:maria", "at noon"),
    "withdrawn candidate": ("3.0", "activation", "token:maria", "at noon"),
    "fifth": ("5.0", "activation", "token:ada", "large orders are lost"),
    "rollback": ("3.0", "rollback", "token:otto", "5.0 is stuck"),
    "revocation": ("3.0", "rollback", "token:otto", "5.0 is stuck"),
    "resubmission": ("3.0", "rollback", "token:otto", "5.0 is stuck"),
    "end": ("3.0", "rollback", "token:otto", "5.0 is stuck"),
}
HISTORY = [
    ("activation", "1.0", None, "token:maria", "the first release"),
    ("activation", "2.0", "1.0", "token:maria", "faster, on a Monday"),
    ("activation", "3.0", "2.0", "token:maria", "at noon"),
    ("gradual", "3.0", "3.0", "token:maria", "new prices"),
    ("withdrawal", "3.0", "3.0", "coordinator", None),
    ("activation", "5.0", "3.0", "token:ada", "large orders are lost"),
    ("rollback", "3.0", "5.0", "token:otto", "5.0 is stuck"),
]
"""Kind, release, the release before, actor and reason of each activation. The coordinator's reason has the figures."""
VOTES = {
    1: None,
    2: [("token:raj", "approve", "go"), ("token:lena", "approve", "")],
    3: [("token:raj", "approve", ""), ("token:lena", "approve", "")],
    **dict.fromkeys((4, 5, 6, 7)),
}
REQUESTS = [
    ("2.0", "REFUSED", [("token:raj", "refuse", "not on a Friday")]),
    ("2.0", "ACTIVATED", VOTES[2]),
    ("3.0", "WITHDRAWN", VOTES[3]),
    ("3.0", "ACTIVATED", VOTES[3]),
]

GRANTED = [
    "token:maria release.upload 1.0",
    "coordinator release.register 1.0",
    "token:maria release.activate 1.0",
    "token:maria release.upload 2.0",
    "coordinator release.register 2.0",
    "token:ada policy.change",
    "token:maria release.smoke_test 2.0",
    "token:ada policy.change",
    "token:maria activation_request.create 2.0",
    "token:raj activation_request.vote 2.0",
    "token:maria activation_request.create 2.0",
    "token:raj activation_request.vote 2.0",
    "token:lena activation_request.vote 2.0",
    "token:maria release.activate 2.0",
    "token:maria release.upload 3.0",
    "coordinator release.register 3.0",
    "token:maria release.smoke_test 3.0",
    "token:maria activation_request.create 3.0",
    "token:raj activation_request.vote 3.0",
    "token:lena activation_request.vote 3.0",
    "token:lena activation_request.withdraw 3.0",
    "token:maria activation_request.create 3.0",
    "token:raj activation_request.vote 3.0",
    "token:lena activation_request.vote 3.0",
    "token:maria release.activate 3.0",
    "token:maria release.upload 4.0",
    "coordinator release.register 4.0",
    "token:maria release.smoke_test 4.0",
    "token:ada policy.change",
    "token:maria gradual_activation.start 4.0",
    "coordinator gradual_activation.withdraw 4.0",
    "token:ada policy.change",
    "token:maria release.upload 5.0",
    "coordinator release.register 5.0",
    "token:maria release.smoke_test 5.0",
    "token:ada release.activate 5.0",
    "token:otto release.activate 3.0",
    "token:ada release.revoke 5.0",
    "token:otto execution.cancel stuck",
    "token:otto campaign.start",
    "token:otto execution.resubmit stuck",
    "token:maria release.retire 1.0",
    "token:maria release.retire 4.0",
]
DENIED = {
    *(("token:maria", act) for act in ("release.activate", "activation_request.vote", "gradual_activation.start")),
    ("token:otto", "release.activate"),
}


def what_was_active_when(year: Year) -> None:
    assert set(ACTIVE) | {"beginning"} == set(year.moments)
    before = year.tenant.http.get(year.tenant.url(f"{PATH}/active"), params={"at": year.moments["beginning"]})
    assert (before.status_code, before.json()["code"]) == (404, "NONE_ACTIVE_THEN")
    for moment, expected in ACTIVE.items():
        found = active(year, moment)
        made = found["activation"]
        assert (made["releaseVersion"], made["kind"], made["actor"], made["reason"]) == expected, moment
        candidate = ("4.0", 50.0) if moment == "gradual" else (None, None)
        assert (found["candidateReleaseVersion"], found["candidateShare"]) == candidate, moment
        assert found["revokedAt"] is None
    times = [active(year, moment)["replacedAt"] for moment in ("first", "second", "third", "fifth", "rollback")]
    switches = [
        active(year, moment)["activation"]["activatedAt"] for moment in ("second", "third", "fifth", "rollback")
    ]
    assert times == [*switches, None]


def who_set_it_and_why(year: Year) -> None:
    """The list of the activations, with the votes that approved each."""
    made = list(reversed(year.tenant.get(f"{PATH}/activations?pageSize=100")["items"]))
    assert [each["sequence"] for each in made] == list(VOTES)
    assert in_short(made) == HISTORY
    for each in made:
        request, votes = each["request"], VOTES[each["sequence"]]
        assert (request and ballots(request["votes"])) == votes
        assert (request and request["requestId"]) == year.requests.get(each["releaseVersion"] if votes else "")
    assert [each["sequence"] for each in made if each["override"]] == [6]
    assert [each["sequence"] for each in made if each["rollback"]] == [7]
    [gradual, withdrawal] = made[3:5]
    assert (gradual["candidateReleaseVersion"], gradual["share"]) == ("4.0", 50.0)
    assert gradual["gradualActivationId"] == withdrawal["gradualActivationId"]
    # The clock may decide before all orders of the candidate have ended.
    failed, ended, *_ = withdrawal["reason"].replace(" of ", " ").split()
    assert 20 <= int(failed) == int(ended) <= len(year.failures)
    assert withdrawal["reason"].startswith(f"{failed} of {failed} executions of the candidate failed, and 0 of ")


def what_was_requested(year: Year) -> None:
    made = list(reversed(year.tenant.get(f"{PATH}/activation-requests?pageSize=100")["items"]))
    assert [(each["releaseVersion"], each["status"], ballots(each["votes"])) for each in made] == REQUESTS
    assert {each["actor"] for each in made} == {"token:maria"}
    assert [each["activationSequence"] for each in made] == [None, 2, None, 3]


def the_signed_history_says_the_same(year: Year) -> None:
    key, document = year.folder / "coordinator.pem", year.folder / "history.dsse.json"
    key.write_text(year.tenant.get("provenance-key")["publicKey"])
    export = year.tenant.http.get(year.tenant.url(f"{PATH}/history/export"))
    document.write_bytes(export.content)
    code, facts = verified(document, key)
    assert (code, facts["verified"], facts["problems"], facts["omittedActivations"]) == (0, True, [], 0)
    assert in_short(facts["activations"]) == HISTORY
    votes = [ballots(each["request"]["votes"]) if "request" in each else None for each in facts["activations"]]
    assert votes == list(VOTES.values())
    releases = {each["releaseVersion"]: each for each in facts["releases"]}
    assert set(releases) == set(year.releases)
    for version, built in year.releases.items():
        [artifact] = releases[version]["artifacts"]
        assert artifact["digest"] == built.document["artifacts"][0]["digest"]
    revoked = {version: (each["revocation"] or {}).get("reason") for version, each in releases.items()}
    assert revoked == {**dict.fromkeys(year.releases), "5.0": "it locks the prices"}
    envelope = json.loads(export.content)
    altered = base64.b64decode(envelope["payload"]).replace(b"token:otto", b"token:raj!")
    document.write_text(json.dumps({**envelope, "payload": base64.b64encode(altered).decode()}))
    assert verified(document, key)[0] == 1


def every_execution_has_its_pin(year: Year) -> None:
    found: dict[str, str] = {}
    address: str | None = year.tenant.url("executions?pageSize=100")
    while address:
        page = year.tenant.http.get(address).json()
        found |= {each["executionId"]: each["pin"]["releaseVersion"] for each in page["items"]}
        address = page["next"]
    assert found == year.pins
    assert set(found.values()) == set(year.releases)


def what_still_needs_each_release(year: Year) -> None:
    expected: dict[str, tuple[str, bool, dict[str, int]]] = {
        "1.0": ("RETIRED", False, {}),
        "2.0": ("REGISTERED", True, {}),
        "3.0": ("REGISTERED", False, {"ACTIVE": 1}),
        "4.0": ("RETIRED", False, {"FAILED": len(year.failures)}),
        "5.0": ("REVOKED", False, {"RETRYING": 2}),
    }
    for version, answer in expected.items():
        found = year.tenant.get(f"{PATH}/retirements?releaseVersion={version}")
        blockers = {each["kind"]: each["count"] for each in found["blockers"]}
        assert (found["status"], found["safe"], blockers) == answer, version


def the_audit_log_is_whole(year: Year) -> None:
    slug = year.tenant.tenant.slug
    verdict = year.tenant.product.manage("verify_audit", slug, "--expect", year.audit_head)
    entries = audit(year)
    assert verdict == f"{slug}: OK, {len(entries)} entries, head {len(entries)}:{entries[-1]['hash']}"
    assert [each["sequence"] for each in entries] == list(range(1, len(entries) + 1))
    granted = [each for each in entries if each["outcome"] == "granted" and each["act"] != "token.issue"]
    assert [f"{each['actor']} {each['act']} {named(year, each)}".strip() for each in granted] == GRANTED
    # Equal acts that follow soon after a denied one are counted, and not recorded each.
    assert {(each["actor"], each["act"]) for each in entries if each["outcome"] == "denied"} == DENIED


QUESTIONS = (
    what_was_active_when,
    who_set_it_and_why,
    what_was_requested,
    the_signed_history_says_the_same,
    every_execution_has_its_pin,
    what_still_needs_each_release,
    the_audit_log_is_whole,
)


# --- parts of questions ---


def active(year: Year, moment: str) -> dict[str, Any]:
    response = year.tenant.http.get(year.tenant.url(f"{PATH}/active"), params={"at": year.moments[moment]})
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def in_short(activations: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    names = ("kind", "releaseVersion", "previousReleaseVersion", "actor")
    return [
        (*(each[name] for name in names), None if each["kind"] == "withdrawal" else each["reason"])
        for each in activations
    ]


def ballots(votes: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(each["actor"], each["decision"], each["comment"]) for each in votes]


def verified(document: Any, key: Any) -> tuple[int, dict[str, Any]]:
    command = [BIN / "pipelines", "verify-provenance", document, "--key", key, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout)


def named(year: Year, entry: dict[str, Any]) -> str:
    """Return the version of the release that an act is about, or that the execution is stuck; "" for other objects."""
    if entry["objectType"] == "execution":
        return "stuck" if entry["object"] == year.stuck[0] else entry["object"]
    return "".join(str(entry["object"]).split("/")[1:2])


def audit(year: Year) -> list[dict[str, Any]]:
    """Return the audit log of the tenant, oldest first."""
    text = year.ada.http.get(year.tenant.url("audit/export"), params={"format": "ndjson"}).text
    return [json.loads(line) for line in text.splitlines()]
