"""Which users may open which page."""

from collections.abc import Callable

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from executions.holds import holds
from executions.models import Campaign, DeadLetter, Interaction
from releases.models import ActivationRequest, Pipeline
from releases.registration import attachments
from tenancy.models import AuditEntry, Membership
from tests import making, requesting, signing
from tests.admin import operator_rows
from tests.admin.conftest import LogIn, World
from tests.cases import cases

MEMBERS = ("viewer", "operator", "on-call", "release-manager", "tenant-admin", "superuser")
RELEASERS = ("release-manager", "tenant-admin", "superuser")
OPERATORS = ("operator", "on-call", "tenant-admin", "superuser")
ADMINS = ("tenant-admin", "superuser")
READERS = ("operator", "on-call", "release-manager", "tenant-admin", "superuser")
EVERYONE = (*MEMBERS, "stranger", "nobody")
Address = Callable[[World], str]


def of(name: str, what: Callable[[World], object]) -> Address:
    return lambda world: reverse(f"admin:{name}", args=[what(world)])


def plain(name: str) -> Address:
    return lambda _: reverse(f"admin:{name}")


def membership(world: World) -> object:
    return Membership.objects.get(tenant=world.tenant, role="viewer").pk


def question(world: World) -> object:
    return (Interaction.objects.filter(tenant=world.tenant).first() or operator_rows.question(world)).pk


def letter(world: World) -> object:
    known = DeadLetter.objects.filter(tenant=world.tenant).first()
    return (known or operator_rows.letter(operator_rows.dead(world, "dead")[0])).pk


def dead(world: World) -> object:
    letter(world)
    return DeadLetter.objects.filter(tenant=world.tenant)[0].execution_id


def group(world: World) -> object:
    letter(world)
    return DeadLetter.objects.filter(tenant=world.tenant)[0].group_id


def campaign(world: World) -> object:
    dead(world)
    known = Campaign.objects.filter(tenant=world.tenant).exclude(status="DRAFT").first()
    return (known or operator_rows.campaign(world)).pk


def draft(world: World) -> object:
    dead(world)
    known = Campaign.objects.filter(tenant=world.tenant, status="DRAFT").first()
    return (known or operator_rows.draft(world)).pk


def key(world: World) -> object:
    return (world.tenant.trusted_keys.first() or signing.trusted(world.tenant)).pk


def activation_request(world: World) -> object:
    """Return the key of a request that needs two votes, in a separate pipeline."""
    found = ActivationRequest.objects.filter(pipeline__tenant=world.tenant).first()
    if found is None:
        release = making.registered(world.tenant, pipeline_id=f"{world.tenant.slug}.asked")
        Pipeline.objects.filter(pk=release.pipeline_id).update(approvals=2)
        found = requesting.open_request(release)
    return found.pk


def alert(world: World) -> object:
    return operator_rows.alert(world).pk


def alert_rule(world: World) -> object:
    return operator_rows.alert(world).rule_id


def alert_channel(world: World) -> object:
    return operator_rows.channel(world).pk


def entry(world: World) -> object:
    return AuditEntry.objects.filter(tenant=world.tenant).order_by("sequence")[0].pk


def attachment(world: World) -> str:
    kept = world.release.attachments.first()
    if kept is None:
        [kept] = attachments.attach(world.release, [signing.envelope(world.release.descriptor)], actor="user:test")
    return reverse("admin:releases_release_attachment", args=[world.release.pk, kept.pk])


def artifact(world: World) -> str:
    return reverse("admin:releases_release_artifact", args=[world.release.pk, world.release.artifacts.get().pk])


def payload(world: World) -> str:
    return reverse("admin:executions_execution_payload", args=[world.execution.pk, "input"])


def paused(kind: str) -> Callable[[World], object]:
    """Return a function that pauses a row of the world and returns its key."""

    def key_of(world: World) -> object:
        targets: dict[str, holds.Target] = {"execution": world.execution, "release": world.release}
        target = targets.get(kind, world.release.pipeline)
        holds.pause(target, actor="user:test", reason="because")
        return target.pk

    return key_of


# Which users get the page, and which status the other users inside and outside the tenant get.
PAGES: dict[str, tuple[Address, tuple[str, ...], int]] = {
    "pipeline": (of("releases_pipeline_change", lambda w: w.release.pipeline_id), MEMBERS, 404),
    "comparison": (of("releases_pipeline_compare", lambda w: w.release.pipeline_id), MEMBERS, 404),
    "release": (of("releases_release_change", lambda w: w.release.pk), MEMBERS, 404),
    "release status": (of("releases_release_status", lambda w: w.release.pk), MEMBERS, 404),
    "execution": (of("executions_execution_change", lambda w: w.execution.pk), MEMBERS, 404),
    "execution live": (of("executions_execution_live", lambda w: w.execution.pk), MEMBERS, 404),
    "provenance": (of("executions_execution_provenance", lambda w: w.execution.pk), MEMBERS, 404),
    "compare executions": (of("executions_execution_compare", lambda w: w.execution.pk), MEMBERS, 404),
    "payload": (payload, READERS, 404),
    "worker": (of("executions_worker_change", lambda w: w.worker.pk), MEMBERS, 404),
    "attachment": (attachment, MEMBERS, 404),
    "artifact": (artifact, MEMBERS, 404),
    "descriptor": (of("releases_release_descriptor", lambda w: w.release.pk), MEMBERS, 404),
    "activation request": (of("releases_activationrequest_change", activation_request), MEMBERS, 404),
    "activation requests": (plain("releases_activationrequest_changelist"), (*MEMBERS, "stranger"), 403),
    "trusted key": (of("releases_trustedkey_change", key), MEMBERS, 404),
    "trusted keys": (plain("releases_trustedkey_changelist"), (*MEMBERS, "stranger"), 403),
    "new trusted key": (plain("releases_trustedkey_new"), (*ADMINS, "stranger"), 403),
    "activate": (of("releases_release_activate", lambda w: w.release.pk), RELEASERS, 404),
    "smoke tests": (plain("executions_smoketest_changelist"), (*MEMBERS, "stranger"), 403),
    "new smoke test": (of("executions_smoketest_new", lambda w: w.release.pk), RELEASERS, 404),
    "upload": (plain("releases_release_upload"), (*RELEASERS, "stranger"), 403),
    "pipelines": (plain("releases_pipeline_changelist"), (*MEMBERS, "stranger"), 403),
    "releases": (plain("releases_release_changelist"), (*MEMBERS, "stranger"), 403),
    "executions": (plain("executions_execution_changelist"), (*MEMBERS, "stranger"), 403),
    "workers": (plain("executions_worker_changelist"), (*MEMBERS, "stranger"), 403),
    "tenants": (plain("tenancy_tenant_changelist"), (*ADMINS, "stranger"), 403),
    "memberships": (plain("tenancy_membership_changelist"), (*ADMINS, "stranger"), 403),
    "tokens": (plain("tenancy_apitoken_changelist"), (*ADMINS, "stranger"), 403),
    "new membership": (plain("tenancy_membership_add"), (*ADMINS, "stranger"), 403),
    "new token": (plain("tenancy_apitoken_add"), (*ADMINS, "stranger"), 403),
    "tenant": (of("tenancy_tenant_change", lambda w: w.tenant.pk), ADMINS, 404),
    "membership": (of("tenancy_membership_change", membership), ADMINS, 404),
    "revoke token": (of("tenancy_apitoken_delete", lambda w: w.token.pk), ADMINS, 404),
    "token": (of("tenancy_apitoken_change", lambda w: w.token.pk), ADMINS, 404),
    "audit log": (plain("tenancy_auditentry_changelist"), (*ADMINS, "stranger"), 403),
    "audit entry": (of("tenancy_auditentry_change", entry), ADMINS, 404),
    "new tenant": (plain("tenancy_tenant_add"), ("superuser",), 403),
    "users": (plain("auth_user_changelist"), ("superuser",), 403),
    "new user": (plain("auth_user_add"), ("superuser",), 403),
    "question": (of("executions_interaction_change", question), MEMBERS, 404),
    "dead letter": (of("executions_deadletter_change", letter), MEMBERS, 404),
    "campaign": (of("executions_campaign_change", campaign), MEMBERS, 404),
    "campaign live": (of("executions_campaign_live", campaign), MEMBERS, 404),
    "re-drive": (of("executions_execution_redrive", dead), OPERATORS, 404),
    "resubmit": (of("executions_execution_resubmit", dead), OPERATORS, 404),
    "cancel": (of("executions_execution_cancel", lambda w: w.execution.pk), OPERATORS, 404),
    "pause execution": (of("executions_hold_execution_pause", lambda w: w.execution.pk), OPERATORS, 404),
    "pause release": (of("executions_hold_release_pause", lambda w: w.release.pk), RELEASERS, 404),
    "pause pipeline": (of("executions_hold_pipeline_pause", lambda w: w.release.pipeline_id), RELEASERS, 404),
    "resume execution": (of("executions_hold_execution_resume", paused("execution")), OPERATORS, 404),
    "resume release": (of("executions_hold_release_resume", paused("release")), RELEASERS, 404),
    "resume pipeline": (of("executions_hold_pipeline_resume", paused("pipeline")), RELEASERS, 404),
    "paused": (plain("executions_hold_changelist"), (*MEMBERS, "stranger"), 403),
    "drain": (of("executions_worker_drain", lambda w: w.worker.pk), OPERATORS, 404),
    "pause campaign": (of("executions_campaign_pause", campaign), OPERATORS, 404),
    "cancel campaign": (of("executions_campaign_cancel", campaign), OPERATORS, 404),
    "start a campaign": (plain("executions_campaign_start"), (*OPERATORS, "stranger"), 403),
    "questions": (plain("executions_interaction_changelist"), (*MEMBERS, "stranger"), 403),
    "dead letters": (plain("executions_deadletter_changelist"), (*MEMBERS, "stranger"), 403),
    "failure group": (of("executions_failuregroup_change", group), MEMBERS, 404),
    "failure groups": (plain("executions_failuregroup_changelist"), (*MEMBERS, "stranger"), 403),
    "campaigns": (plain("executions_campaign_changelist"), (*MEMBERS, "stranger"), 403),
    "overview": (plain("index"), EVERYONE, 200),
    "campaign draft": (of("executions_campaign_change", draft), MEMBERS, 404),
    "alert": (of("alerts_alert_change", alert), MEMBERS, 404),
    "alerts": (plain("alerts_alert_changelist"), (*MEMBERS, "stranger"), 403),
    "alert rule": (of("alerts_alertrule_change", alert_rule), MEMBERS, 404),
    "alert rules": (plain("alerts_alertrule_changelist"), (*MEMBERS, "stranger"), 403),
    "new alert rule": (plain("alerts_alertrule_new"), (*RELEASERS, "stranger"), 403),
    "change alert rule": (of("alerts_alertrule_edit", alert_rule), RELEASERS, 404),
    "alert channel": (of("alerts_alertchannel_change", alert_channel), MEMBERS, 404),
    "alert channels": (plain("alerts_alertchannel_changelist"), (*MEMBERS, "stranger"), 403),
    "new alert channel": (plain("alerts_alertchannel_new"), (*RELEASERS, "stranger"), 403),
    "change alert channel": (of("alerts_alertchannel_edit", alert_channel), RELEASERS, 404),
    "search": (plain("search"), EVERYONE, 200),
    "my account": (plain("account"), EVERYONE, 200),
    "status": (plain("coordinator_process_changelist"), ("superuser",), 403),
}


@cases("page", PAGES)
def test_a_page_opens_only_for_users_whose_role_permits_it(page: str, log_in: LogIn, acme: World) -> None:
    address, allowed, _ = PAGES[page]
    got = {who: log_in(who).get(address(acme)).status_code for who in EVERYONE}
    assert {who for who, status in got.items() if status == 200} == set(allowed), got
    assert {status for who, status in got.items() if who not in allowed} <= {403, 404}, got


def test_a_page_reads_the_roles_of_the_user_once(log_in: LogIn, acme: World) -> None:
    client = log_in("viewer")
    with CaptureQueriesContext(connection) as queries:
        assert client.get(reverse("admin:releases_pipeline_change", args=[acme.release.pipeline_id])).status_code == 200
    statements = [query["sql"] for query in queries]
    assert len([sql for sql in statements if sql.startswith('SELECT "tenancy_membership"')]) == 1
    assert not [sql for sql in statements if sql.startswith("SELECT 1 ") and "tenancy_membership" in sql]


@cases("page", [page for page, (_, _, outside) in PAGES.items() if outside == 404])
def test_a_page_of_another_tenant_is_not_found_and_reveals_nothing(page: str, log_in: LogIn, acme: World) -> None:
    answer = log_in("stranger").get(PAGES[page][0](acme))
    assert answer.status_code == 404
    assert "acme" not in answer.text


@cases("page", PAGES)
def test_an_anonymous_user_is_redirected_to_the_log_in(page: str, log_in: LogIn, acme: World) -> None:
    answer = log_in("anonymous").get(PAGES[page][0](acme))
    if page in {"release status", "execution live", "campaign live"}:
        assert (answer.status_code, answer["HX-Refresh"]) == (403, "true")
    else:
        assert answer.status_code == 302
        assert answer["Location"].startswith(reverse("admin:login"))


READ_ONLY: dict[str, Callable[[World], object]] = {
    "releases_pipeline": lambda w: w.release.pipeline_id,
    "releases_release": lambda w: w.release.pk,
    "releases_trustedkey": key,
    "releases_activationrequest": activation_request,
    "executions_execution": lambda w: w.execution.pk,
    "executions_worker": lambda w: w.worker.pk,
    "executions_interaction": question,
    "executions_deadletter": letter,
    "executions_failuregroup": group,
    "executions_campaign": campaign,
    "alerts_alert": alert,
    "alerts_alertrule": alert_rule,
    "alerts_alertchannel": alert_channel,
}


@cases("model", READ_ONLY)
def test_no_page_adds_changes_or_deletes_rows_that_only_domain_calls_may_change(
    model: str, log_in: LogIn, acme: World
) -> None:
    client, key = log_in("superuser"), READ_ONLY[model](acme)
    assert client.get(reverse(f"admin:{model}_add")).status_code == 403
    assert client.post(reverse(f"admin:{model}_change", args=[key]), {"release_version": "9"}).status_code == 405
    assert client.post(reverse(f"admin:{model}_delete", args=[key]), {"post": "yes"}).status_code == 403
    answer = client.post(reverse(f"admin:{model}_changelist"), {"action": "delete_selected", "_selected_action": key})
    assert answer.status_code in {200, 302}
    type(acme.release).objects.get(pk=acme.release.pk)
    type(acme.execution).objects.get(pk=acme.execution.pk)
    type(acme.worker).objects.get(pk=acme.worker.pk)


@cases("model", READ_ONLY)
def test_an_unknown_object_is_a_404(model: str, log_in: LogIn) -> None:
    client, changelist = log_in("superuser"), reverse(f"admin:{model}_changelist")
    for unknown in ("0", "999999", "x", "99999999999999999999999", "1/change/../.."):
        assert client.get(f"{changelist}{unknown}/change/").status_code == 404, unknown


ASKED = (
    "releases_trustedkey",
    "releases_activationrequest",
    "executions_interaction",
    "executions_deadletter",
    "executions_failuregroup",
    "executions_campaign",
    *("alerts_alert", "alerts_alertrule", "alerts_alertchannel"),
)


@cases("model", ASKED)
def test_a_list_shows_only_rows_of_the_users_tenant(model: str, log_in: LogIn, acme: World, globex: World) -> None:
    mine, theirs = str(READ_ONLY[model](globex)), str(READ_ONLY[model](acme))
    answer = log_in("stranger").get(reverse(f"admin:{model}_changelist"))
    assert [str(row.pk) for row in answer.context["cl"].result_list] == [mine]
    assert "acme" not in answer.text
    everything = log_in("superuser").get(reverse(f"admin:{model}_changelist"))
    assert {str(row.pk) for row in everything.context["cl"].result_list} == {mine, theirs}


@cases(
    ("model", "name"),
    [
        ("executions_interaction", "assignee"),
        ("executions_deadletter", "error"),
        ("executions_deadletter", "group"),
        ("executions_failuregroup", "error"),
        ("executions_deadletter", "q"),
        ("executions_execution", "pipeline"),
        ("executions_worker", "tenant"),
        ("executions_interaction", "q"),
    ],
)
def test_a_filter_takes_any_text(model: str, name: str, log_in: LogIn) -> None:
    for text in ("\0", "'\"><script>alert(1)</script>", "%", "é" * 400):
        answer = log_in("viewer").get(reverse(f"admin:{model}_changelist"), {name: text})
        assert answer.status_code == 200
        assert "<script>alert(1)" not in answer.text


LISTS = ("releases_pipeline", "releases_release", "executions_execution", "executions_worker", "tenancy_apitoken")


@cases("model", [*LISTS, "tenancy_membership", "tenancy_tenant"])
def test_a_list_and_its_filters_reveal_nothing_of_another_tenant(model: str, log_in: LogIn) -> None:
    shown = log_in("stranger").get(reverse(f"admin:{model}_changelist")).text
    assert "globex" in shown
    assert "acme" not in shown


@cases(
    ("model", "question"),
    [
        ("releases_release", "q=acme"),
        ("releases_release", "pipeline=acme.orders"),
        ("releases_pipeline", "q=acme"),
        ("executions_execution", "q=key-of-acme"),
        ("executions_worker", "q=acme"),
        ("executions_worker", "release=1.0&pipeline=acme.orders"),
        ("executions_interaction", "status=all&pipeline=acme.orders"),
        ("executions_deadletter", "pipeline=acme.orders"),
        ("executions_failuregroup", "pipeline=acme.orders"),
        ("executions_campaign", "tenant=acme"),
        ("alerts_alert", "tenant=acme"),
        ("alerts_alertrule", "tenant=acme"),
        ("alerts_alertchannel", "tenant=acme"),
        ("tenancy_apitoken", "q=acme"),
        ("tenancy_membership", "q=viewer"),
    ],
)
def test_a_search_or_filter_finds_no_rows_of_another_tenant(
    model: str, question: str, log_in: LogIn, acme: World
) -> None:
    if model in ASKED:
        READ_ONLY[model](acme)
    answer = log_in("stranger").get(f"{reverse(f'admin:{model}_changelist')}?{question}")
    assert answer.status_code == 200
    assert list(answer.context["cl"].result_list) == []


@cases("model", ["releases_pipeline", "releases_release", "executions_execution", "executions_worker"])
def test_a_user_of_one_tenant_has_no_filter_by_tenant(model: str, log_in: LogIn) -> None:
    address = reverse(f"admin:{model}_changelist")
    [theirs] = log_in("stranger").get(f"{address}?tenant=acme").context["cl"].result_list
    [found] = log_in("superuser").get(f"{address}?tenant=acme").context["cl"].result_list
    assert theirs != found


@cases(
    ("model", "lookup"),
    [
        ("releases_release", "pipeline__tenant__slug__startswith=a"),
        ("releases_release", "uploaded_by=user:test"),
        ("tenancy_apitoken", "digest__startswith=0"),
        ("tenancy_membership", "user__password__startswith=a"),
        ("executions_execution", "input__n=1"),
        ("executions_interaction", "response__isnull=1"),
        ("executions_interaction", "execution__input__n=1"),
        ("executions_deadletter", "execution__input__n=1"),
        ("executions_failuregroup", "release__descriptor__n=1"),
        ("executions_campaign", "filters__pipelineId=acme.orders"),
        ("alerts_alertchannel", "address__startswith=https"),
        ("alerts_alertrule", "links__channel__secret=x"),
    ],
)
def test_a_lookup_that_no_filter_offers_is_rejected(model: str, lookup: str, log_in: LogIn) -> None:
    answer = log_in("stranger").get(f"{reverse(f'admin:{model}_changelist')}?{lookup}")
    assert answer.status_code == 400


def test_an_execution_is_not_found_by_the_id_in_another_tenant(log_in: LogIn, acme: World) -> None:
    address = reverse("admin:executions_execution_changelist")
    assert list(log_in("stranger").get(address, {"q": str(acme.execution.pk)}).context["cl"].result_list) == []
    assert list(log_in("viewer").get(address, {"q": str(acme.execution.pk)}).context["cl"].result_list) == [
        acme.execution
    ]
    assert list(log_in("viewer").get(address, {"q": "key-of-acme"}).context["cl"].result_list) == [acme.execution]


def test_a_former_member_sees_nothing(log_in: LogIn, acme: World) -> None:
    client: Client = log_in("viewer")
    address = reverse("admin:releases_release_change", args=[acme.release.pk])
    assert client.get(address).status_code == 200
    Membership.objects.filter(user__username="viewer").delete()
    assert client.get(address).status_code == 404


def test_activation_requires_the_role_in_the_tenant_of_the_release(log_in: LogIn, acme: World, globex: World) -> None:
    """A release manager of one tenant who is a viewer of another may not activate there."""
    client = log_in("viewer")
    user = client.session["_auth_user_id"]
    Membership.objects.create(user_id=user, tenant=globex.tenant, role="release-manager")
    assert client.get(reverse("admin:releases_release_upload")).status_code == 200
    assert client.get(reverse("admin:releases_release_activate", args=[acme.release.pk])).status_code == 403
