"""The pages and the API show what steps declare and what counts, and the form changes it."""

import json
from typing import Any

from django.test import Client

from releases.models import Pipeline, Release
from releases.registration.api import ReleaseView
from tests import making
from tests.admin.browsing import MARKUP, inert, to, words
from tests.admin.conftest import LogIn, World
from tests.cases import cases
from wire.documents.contract import DECLARATIONS_ENTRY

DECLARED: dict[str, dict[str, Any]] = {
    "Book": {"retries": 5, "timeoutSeconds": 30, "retryOn": [MARKUP]},
    "Pay": {"retries": 0, "jitter": False},
}


def declaring(acme: World, version: str, steps: dict[str, Any]) -> Release:
    document = making.contract("acme.orders", steps=making.steps("Read", "Book", "Pay"))
    data = making.archive(document, code=version, **{DECLARATIONS_ENTRY: json.dumps({"steps": steps})})
    return making.verified(making.upload(acme.tenant, making.descriptor(document, data, version), data).release)


def change(client: Client, pipeline: Pipeline, text: str) -> Any:
    address = to("releases_pipeline_policy", pipeline)
    return client.post(address, {"step_policies": text}, follow=True)


def test_pages_show_what_is_declared_and_what_counts(log_in: LogIn, acme: World) -> None:
    release, client = declaring(acme, "2.0", DECLARED), log_in("tenant-admin")
    saved = change(client, release.pipeline, '{"Book": {"retries": 8}, "Gone": {"retries": 1}}')
    assert 'steps["Book"].retries = 8; steps["Gone"].retries = 1' in words(saved).replace("&quot;", '"')
    page = client.get(to("releases_release_change", release))
    inert(page)
    shown = words(page)
    assert "8 retries, timeout 30 s, retries only" in shown
    assert "(declared: 5 retries)" in shown
    assert "no retries, no jitter" in shown
    assert "names steps that this release does not have: Gone" in shown
    assert "one to one, 8 retries, 30 s" in shown
    view = ReleaseView(Release.objects.get(pk=release.pk)).data
    assert view["declarations"] == {"steps": DECLARED}
    assert view["stepPolicies"][0] == {
        "step": "Book",
        "declared": DECLARED["Book"],
        "effective": {**DECLARED["Book"], "retries": 8},
    }


def test_the_page_of_an_execution_shows_the_policy_of_its_step(log_in: LogIn, acme: World) -> None:
    change(log_in("tenant-admin"), acme.release.pipeline, json.dumps({making.STEP["authoredName"]: {"retries": 1}}))
    page = log_in("viewer").get(to("executions_execution_change", acme.execution))
    assert "Policy of the step 1 retry (declared: nothing)" in words(page)


@cases(
    ("text", "problem"),
    [
        ("{", "The form has values that a policy cannot have: Policies of steps"),
        ('{"Book": {"retries": 1}, "Book": {"retries": 2}}', "cannot have: Policies of steps"),
        ('{"Book": {"retries": 1001}}', "POLICY_INVALID"),
    ],
)
def test_a_wrong_policy_changes_nothing(log_in: LogIn, acme: World, text: str, problem: str) -> None:
    assert problem in words(change(log_in("tenant-admin"), acme.release.pipeline, text))
    assert Pipeline.objects.get(pk=acme.release.pipeline_id).step_policies == {}


def test_a_comparison_has_a_difference_for_each_declared_value(log_in: LogIn, acme: World) -> None:
    before, after = declaring(acme, "2.0", DECLARED), declaring(acme, "3.0", {"Book": {"retries": 6}})
    address = to("releases_pipeline_compare", before.pipeline)
    page = words(log_in("viewer").get(address, {"from": "2.0", "to": after.release_version}))
    for path in ("retries", "timeoutSeconds", "retryOn"):
        assert f"steps[&quot;Book&quot;].{path}" in page
    assert "steps[&quot;Pay&quot;].jitter" in page
