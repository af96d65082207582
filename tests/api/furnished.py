import base64
import json
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import jsonschema  # type: ignore[import-untyped]
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from executions.awaits import awaits
from executions.holds import holds
from executions.lifecycle import interventions
from executions.models import Campaign, Execution, FailureGroup, Interaction, Schedule
from executions.schedules import backfills
from executions.workers import registry
from governance.activation.activation import activate
from governance.campaigns import campaigns, drafts
from governance.campaigns.selection import Filters
from governance.gradual.changes import start
from governance.smoke_tests import smoke_tests
from releases import policy
from releases.trust import attachments
from tenancy.models import Membership, Tenant
from tenancy.roles import Role
from tests import gradual, making, signing
from tests.alerts import alerting
from tests.api.endpoints import CHANGES, OTHER, PIPELINE, QUERIES, VOTED, Endpoint
from tests.api.tenant_api import TenantApi, file, refused, tenant_api, upload
from tests.interop.deploying import deployed
from tests.making import LONG_AGO
from tests.raw_sql import unguarded
from tests.releases.registration.sending import opened
from tests.requesting import open_request, soon

TENANT = "/api/v1/tenants/{tenant}/"


@dataclass
class Furnished:
    """Sends requests to a tenant with objects of each kind, whose names are the `names`."""

    api: TenantApi
    names: dict[str, str]

    def url(self, path: str, **changes: str) -> str:
        if path.startswith("/"):
            return path
        names = {name: quote(value, safe="") for name, value in {**self.names, **changes}.items()}
        return self.api.url("") + path.format(**names)

    def request(self, method: str, path: str, **more: Any) -> Any:
        if method == "GET":
            return self.api.call("GET", self.url(path) + QUERIES.get(path, ""), **more)
        return self.api.call(method, self.url_of(method, path), self.body(method, path), **more)

    def url_of(self, method: str, path: str) -> str:
        at = CHANGES[method, path].at if (method, path) in CHANGES else {}
        return self.url(path, **{name: value.format(**self.names) for name, value in at.items()})

    def body(self, method: str, path: str) -> Any:
        if (method, path) == ("POST", f"{PIPELINE}/releases"):
            return upload("3.0")
        if (method, path) == ("POST", f"{PIPELINE}/attachments"):
            document = json.dumps(signing.cyclone([self.api.tenant.slug])).encode()
            return {"releaseVersion": "1.0", "attachment": file(document, "sbom.json")}
        body = CHANGES[method, path].body.items() if (method, path) in CHANGES else ()
        return {name: value.format(**self.names) if isinstance(value, str) else value for name, value in body} or None

    def rejects(
        self, method: str, url: str, body: Any = None, status: int = 400, code: str = "INVALID_REQUEST", **more: Any
    ) -> dict[str, Any]:
        return refused(self.api.call(method, url, body, **more), status, code)


def furnished() -> Furnished:
    """Return a tenant with objects of every kind, including a running, a waiting and a stranded execution."""
    made = tenant_api()
    owner = made.tenant
    known = populate(made)
    making.claimed(owner)
    making.worker(made.release, "rest-0", protocol="rest", endpoint="http://worker.example")
    making.worker(made.release, "odd", artifact_digest="sha256:" + "0" * 64)
    making.lasting(owner)
    registry.drain(owner, making.PIPELINE, "worker-1", actor="user:eva")
    registry.undrain(owner, making.PIPELINE, "worker-1", actor="user:eva")
    worker = making.worker(making.active(owner, pipeline_id=OTHER), "worker-2")
    making.execution(owner, "stranded", pipeline_id=OTHER)
    making.silence(worker)
    activate(making.registered(owner, "2.0", pipeline_id=OTHER), actor="user:eva")
    making.registered(owner, "3.0", pipeline_id=OTHER)
    making.registered(owner, "0.9", body="unneeded")
    draft = drafts.freeze(owner, Campaign.Kind.REDRIVE, Execution.objects.filter(tenant=owner), actor="user:eva")
    with unguarded(Campaign):  # lists are ordered by this time
        Campaign.objects.filter(pk=draft.pk).update(created_at=timezone.now() - timedelta(hours=1))
    more = {"live_id": known["execution_id"][1], "dead_id": known["execution_id"][-1], "draft_id": str(draft.pk)}
    return Furnished(made, {**{name: values[-1] for name, values in known.items()}, **more, "voted_id": voted(owner)})


def voted(owner: Any) -> str:
    making.active(owner, pipeline_id=VOTED)
    release = making.registered(owner, "2.0", pipeline_id=VOTED)
    policy.change(release.pipeline, {"approvals": 2}, actor="user:eva")
    holds.pause(release, actor="user:eva", reason="broken")
    return str(open_request(release).pk)


def operations(document: dict[str, Any]) -> dict[Endpoint, dict[str, Any]]:
    return {
        (method.upper(), path.removeprefix(TENANT)): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def queries(document: dict[str, Any], path: str) -> dict[str, dict[str, Any]]:
    parameters = operations(document)["GET", path].get("parameters", ())
    return {parameter["name"]: parameter["schema"] for parameter in parameters if parameter["in"] == "query"}


def pages(document: dict[str, Any]) -> list[str]:
    return [path for method, path in operations(document) if method == "GET" and "cursor" in queries(document, path)]


def conforms(document: dict[str, Any], method: str, path: str, response: Any) -> dict[str, Any]:
    """Return the JSON body of a response. It must conform to the document and contain no other members."""
    responses = operations(document)[method, path]["responses"]
    assert str(response.status_code) in responses, response.content
    content = responses[str(response.status_code)]["content"]
    media = re.split(";", response.headers["Content-Type"])[0]
    schema = content[media]["schema"]
    body: dict[str, Any] = response.json()
    validator = jsonschema.Draft202012Validator({**schema, "components": document["components"]})
    errors = [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(body)]
    assert not errors, errors
    more = undocumented(document, schema, body)
    assert not more, f"undocumented members: {more}"
    return body


def undocumented(document: dict[str, Any], schema: dict[str, Any], value: Any) -> list[str]:
    """Return the names of members that an object with documented members has in addition."""
    schema = resolved(document, schema)
    if isinstance(value, list):
        return [name for item in value for name in undocumented(document, schema.get("items", {}), item)]
    members = schema.get("properties")
    if not isinstance(value, dict) or not members:
        return []
    inner = [name for key in value.keys() & members for name in undocumented(document, members[key], value[key])]
    return inner + ([] if "additionalProperties" in schema else sorted(value.keys() - members))


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Return the component that a schema refers to, or the schema itself."""
    alternatives = [schema, *schema.get("allOf", ()), *schema.get("oneOf", ())]
    for reference in (part["$ref"] for part in alternatives if "$ref" in part):
        component: dict[str, Any] = document["components"]["schemas"][reference.rsplit("/", 1)[-1]]
        return component
    return schema


def populate(ours: TenantApi) -> dict[str, list[str]]:
    """Create the objects. Return their names and ids by the name of the parameter or member."""
    owner, release = ours.tenant, ours.release
    making.claimed(owner)
    receiver = alerting.channel(owner)
    rule = alerting.rule(owner, "newFailureGroup", receiver)  # it finds the failures after it
    notified = making.submitted(owner, "notified", notify=receiver.name).execution_id
    interventions.cancel(owner, notified, actor="user:eva", reason="")
    dead = making.dead(owner, "dead-1", "dead-2", "dead-3")
    campaign = campaigns.start(
        owner, Filters(pipeline_id=making.PIPELINE), reason="fixed", rate_per_minute=1, actor="user:eva"
    )
    making.execution(owner, "waits")
    [claim] = making.claimed(owner)
    assert making.record(making.suspension(claim, timeout_seconds=86_400.0), worker_id="worker-1") == 1
    interaction = Interaction.objects.get(tenant=owner)
    live = making.execution(owner, "live")
    smoke_test = smoke_tests.start(release, actor="user:eva", input={"n": 1}, idempotency_key="first").test
    token = awaits.resume_token_of(interaction, issued_at=timezone.now()).sign(awaits.resume_secrets()[0])
    key = signing.trusted(owner)
    [attachment] = attachments.attach(release, [signing.envelope(release.descriptor)], actor="user:eva")
    deployed(release)
    request = open_request(making.registered(owner, "asked"), actor="user:eva", activate_at=soon())
    candidate = making.replaced(making.registered(owner, "0.8", body="candidate"))
    running = start(candidate, gradual.plan(5, 50, tags=("beta",)), actor="user:eva", reason="faster")
    upload = opened(owner, making.digest_of(b"x"))
    alert = alerting.of_failures(rule)
    member = User.objects.create_user(f"member-{owner.slug}")
    Membership.objects.create(user=member, tenant=owner, role=Role.OPERATOR)
    Client().force_login(member)
    group = FailureGroup.objects.get(tenant=owner)
    values = {
        **dict.fromkeys(("pipeline_id", "pipelineId"), making.PIPELINE),
        **dict.fromkeys(("release_version", "releaseVersion", "from", "to", "expectedReleaseVersion"), "1.0"),
        **dict.fromkeys(("failure_group_id", "failureGroupId", "failureGroup"), group.pk),
        **dict.fromkeys(("question_id", "questionId", "interactionId"), interaction.pk),
        **dict.fromkeys(("rule_id", "ruleId"), alert.rule_id),
        **{"upload_id": upload.pk, "request_id": request.pk, "tenant": owner.slug, "username": member.username},
        **{"smoke_test_id": smoke_test.pk, "gradual_id": running.pk, "campaign_id": campaign.pk},
        **{"correlationId": interaction.correlation_id, "resumeToken": token, "worker_id": "worker-1"},
        **{"key_id": key.key_id, "digest": attachment.digest, "artifact_digest": release.artifacts.get().digest},
        **{"descriptor_digest": release.descriptor_digest, "schedule_id": _fired(owner).pk},
        **{"invitation_id": making.invitation(owner, ours.admin).pk, "alert_id": alert.pk, "channel_id": receiver.pk},
        "cursor": base64.b64encode(b"o=0").decode(),  # the first page of any list
    }
    several = {"execution_id": [str(execution.pk) for execution in (ours.execution, live, *dead)]}
    return {**{name: [str(value)] for name, value in values.items()}, **several}


def _fired(owner: Tenant) -> Schedule:
    """Return a schedule with one time."""
    schedule = making.scheduled(owner)
    backfills.backfill(schedule, LONG_AGO, LONG_AGO + timedelta(days=1), actor="user:eva")
    return schedule
