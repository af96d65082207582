"""Trusted keys, signatures and attachments in the admin."""

import json
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from releases.activation import policy
from releases.models import Attachment, KeyRevocation, Release, TrustedKey
from releases.registration import attachments
from releases.trust import trust, trusted_keys
from tests import making, signing
from tests.admin.conftest import LogIn, World
from tests.cases import cases
from tests.raw_sql import rows

MARKUP = "<img src=x onerror=alert(1)>"
NOT_ADMINS = ("viewer", "operator", "release-manager")


def page(world: World) -> str:
    return reverse("admin:releases_release_change", args=[world.release.pk])


def signed(world: World, *names: str) -> bytes:
    return signing.envelope(world.release.descriptor, *names)


def files(*contents: bytes) -> dict[str, Any]:
    return {"attachment": [SimpleUploadedFile("attached.json", content) for content in contents]}


def attach(client: Client, world: World, *contents: bytes) -> Any:
    return client.post(reverse("admin:releases_release_attach", args=[world.release.pk]), files(*contents), follow=True)


def test_an_administrator_trusts_a_key_and_revokes_it(log_in: LogIn, acme: World) -> None:
    client = log_in("tenant-admin")
    body = {"tenant": acme.tenant.pk, "name": "ci", "public_key": signing.public_pem()}
    answer = client.post(reverse("admin:releases_trustedkey_new"), body)
    key = TrustedKey.objects.get()
    assert answer["Location"] == reverse("admin:releases_trustedkey_change", args=[key.pk])
    assert (key.tenant, key.key_id, key.added_by) == (acme.tenant, signing.key_id(), "user:tenant-admin-of-acme")
    again = client.post(reverse("admin:releases_trustedkey_new"), body)
    assert (again.status_code, 'data-problem="KEY_CONFLICT"' in again.text) == (409, True)
    revoke = reverse("admin:releases_trustedkey_revoke", args=[key.pk])
    assert client.post(revoke, {"reason": " "}).status_code == 302
    assert rows(KeyRevocation) == []
    shown = client.post(revoke, {"reason": "leaked"}, follow=True)
    assert "leaked" in shown.text
    assert "data-revoke" not in shown.text
    assert KeyRevocation.objects.get().actor == "user:tenant-admin-of-acme"


@cases("pem", ["", "none", "x" * 3000])
def test_an_invalid_key_is_rejected_by_the_form(log_in: LogIn, acme: World, pem: str) -> None:
    body = {"tenant": acme.tenant.pk, "name": "ci", "public_key": pem}
    answer = log_in("tenant-admin").post(reverse("admin:releases_trustedkey_new"), body)
    assert answer.status_code in {400, 422}
    assert rows(TrustedKey) == []


@cases("who", [*NOT_ADMINS, "stranger", "nobody", "anonymous"])
def test_only_tenant_admins_add_or_revoke_keys(log_in: LogIn, acme: World, who: str) -> None:
    key = signing.trusted(acme.tenant)
    before = rows(TrustedKey)
    client = log_in(who)
    body = {"tenant": acme.tenant.pk, "name": "mine", "public_key": signing.public_pem("mine")}
    added = client.post(reverse("admin:releases_trustedkey_new"), body)
    revoked = client.post(reverse("admin:releases_trustedkey_revoke", args=[key.pk]), {"reason": "mine now"})
    # The stranger may open the form, because they administer another tenant.
    expected = {"stranger": (400, 404), "nobody": (403, 404), "anonymous": (302, 302)}.get(who, (403, 403))
    assert (added.status_code, revoked.status_code) == expected
    assert (rows(TrustedKey), rows(KeyRevocation)) == (before, [])


def test_the_release_shows_its_signatures_with_their_verdicts(log_in: LogIn, acme: World) -> None:
    signing.trusted(acme.tenant, "good")
    trusted_keys.revoke(signing.trusted(acme.tenant, "old"), actor="user:x", reason="left")
    forged = json.loads(signed(acme, "stranger"))
    forged["signatures"][0]["keyid"] = signing.key_id("good")
    contents = [signed(acme, "good", "old", "stranger"), json.dumps(forged).encode()]
    attachments.attach(acme.release, contents, actor="user:x")
    shown = log_in("viewer").get(page(acme)).text
    assert 'data-standing="SIGNED"' in shown
    verdicts = ("VALID", "KEY_REVOKED", "KEY_UNKNOWN", "BAD_SIGNATURE")
    assert [shown.count(f'data-verdict="{verdict}"') for verdict in verdicts] == [1, 1, 1, 1]
    assert signing.key_id("stranger") in shown


def test_claims_in_attachments_are_displayed_as_text(log_in: LogIn, acme: World) -> None:
    digest = acme.release.artifacts.get().digest
    proof = signing.statement(digest, runDetails={"builder": {"id": MARKUP}, "metadata": {"invocationId": MARKUP}})
    proof["predicate"]["buildDefinition"]["resolvedDependencies"] = [{"uri": MARKUP, "digest": {"x": MARKUP}}]
    bill = signing.cyclone(digest=digest)
    bill["metadata"]["component"]["name"] = MARKUP
    forged = json.loads(signed(acme))
    forged["signatures"][0]["keyid"] = MARKUP
    contents = [json.dumps(each).encode() for each in (proof, bill, forged)]
    attachments.attach(acme.release, contents, actor="user:x")
    key = trusted_keys.add(acme.tenant, name=MARKUP, public_key=signing.public_pem("m"), actor="user:x")
    client = log_in("viewer")
    for address in (page(acme), reverse("admin:releases_trustedkey_change", args=[key.pk])):
        shown = client.get(address).text
        assert MARKUP not in shown
        assert "&lt;img src=x" in shown


def test_a_release_manager_attaches_and_a_viewer_downloads(log_in: LogIn, acme: World) -> None:
    digest = acme.release.artifacts.get().digest
    sent = [signed(acme), json.dumps(signing.statement(digest)).encode(), json.dumps(signing.spdx()).encode()]
    shown = attach(log_in("release-manager"), acme, *sent)
    assert "Attached: signature, provenance, sbom." in shown.text
    assert "https://ci.example/builder" in shown.text
    assert "SPDX 2.3" in shown.text
    kept = list(acme.release.attachments.all())
    assert [each.attached_by for each in kept] == ["user:release-manager"] * 3
    copy = log_in("viewer").get(reverse("admin:releases_release_attachment", args=[acme.release.pk, kept[1].pk]))
    assert copy.content == sent[1]
    assert copy["Content-Disposition"].startswith("attachment;")
    assert "Nothing changed" in attach(log_in("release-manager"), acme, sent[0]).text


@cases(
    ("contents", "message"),
    [((), "Choose the files"), ((b"{}",), "ATTACHMENT_KIND_UNKNOWN"), ((b"\xff",), "DOCUMENT_NOT_UTF8")],
)
def test_files_that_cannot_be_attached_are_reported(
    log_in: LogIn, acme: World, contents: tuple[bytes, ...], message: str
) -> None:
    assert message in attach(log_in("release-manager"), acme, *contents).text
    assert rows(Attachment) == []


@cases("who", ["viewer", "operator", "stranger", "nobody", "anonymous"])
def test_only_users_who_may_register_attach(log_in: LogIn, acme: World, who: str) -> None:
    address = reverse("admin:releases_release_attach", args=[acme.release.pk])
    status = {"stranger": 404, "nobody": 404, "anonymous": 302}.get(who, 403)
    assert log_in(who).post(address, files(signed(acme))).status_code == status
    assert rows(Attachment) == []


def test_attaching_requires_a_csrf_token(log_in: LogIn, acme: World) -> None:
    client = log_in("release-manager", enforce_csrf_checks=True)
    address = reverse("admin:releases_release_attach", args=[acme.release.pk])
    assert client.post(address, files(signed(acme))).status_code == 403
    assert rows(Attachment) == []


def test_an_attachment_of_another_release_is_not_found(log_in: LogIn, acme: World) -> None:
    other = making.registered(acme.tenant, "2.0", pipeline_id="acme.orders")
    [kept] = attachments.attach(other, [signing.envelope(other.descriptor)], actor="user:x")
    address = reverse("admin:releases_release_attachment", args=[acme.release.pk, kept.pk])
    assert log_in("viewer").get(address).status_code == 404


def test_the_upload_form_accepts_attachments(log_in: LogIn, acme: World) -> None:
    contract = making.contract("acme.orders")
    data = making.archive(contract, code="2.0")
    document = making.descriptor(contract, data, "2.0")
    body = {
        "tenant": "acme",
        "descriptor": SimpleUploadedFile("pipeline-release.json", json.dumps(document).encode()),
        "artifacts": SimpleUploadedFile("app.zip", data),
        **files(signing.envelope(document), json.dumps(signing.cyclone()).encode()),
    }
    assert log_in("release-manager").post(reverse("admin:releases_release_upload"), body).status_code == 302
    release = Release.objects.get(release_version="2.0")
    assert [each.kind for each in release.attachments.all()] == ["signature", "sbom"]


def test_an_unsigned_release_cannot_be_activated_if_the_policy_requires_a_signature(log_in: LogIn, acme: World) -> None:
    policy.change(acme.release.pipeline, {"signaturePolicy": "require"}, actor="user:x")
    client = log_in("release-manager")
    address = reverse("admin:releases_release_activate", args=[acme.release.pk])
    shown = client.get(address)
    assert [gate.detail for gate in shown.context["refusing"]] == ["Release '1.0' cannot be activated. Unsigned."]
    assert "The policy of the pipeline does not allow this activation" in shown.text
    assert 'disabled aria-describedby="refusing"' in shown.text
    body = {"expected_release_version": "1.0", "operation_key": shown.context["operation_key"], "reason": ""}
    refused = client.post(address, body)
    assert (refused.status_code, 'data-problem="SIGNATURE_REQUIRED"' in refused.text) == (409, True)
    assert "data-trust" in client.get(reverse("admin:releases_pipeline_change", args=[acme.release.pipeline_id])).text
    signing.trusted(acme.tenant)
    attachments.attach(acme.release, [signed(acme)], actor="user:x")
    shown = client.get(address)
    assert "Signed by" in shown.text
    assert "refusing" not in shown.text
    assert client.post(address, body).status_code == 302


def test_the_list_shows_the_standing_of_each_release_with_a_constant_number_of_queries(
    log_in: LogIn, acme: World, django_assert_num_queries: Any
) -> None:
    signing.trusted(acme.tenant, "good")
    trusted_keys.revoke(signing.trusted(acme.tenant, "old"), actor="user:x", reason="left")
    standings = {"1.0": None, "2.0": "signed", "3.0": "revoked keys", "4.0": "untrusted"}
    for version, name in (("2.0", "good"), ("3.0", "old"), ("4.0", "stranger")):
        release = making.registered(acme.tenant, version, pipeline_id="acme.orders")
        attachments.attach(release, [signing.envelope(release.descriptor, name)], actor="user:x")
    client = log_in("viewer")
    address = reverse("admin:releases_release_changelist")
    pages = client.get(address).context["cl"]
    assert {row.release_version: pages.model_admin.signed(row) for row in pages.result_list} == standings
    rows_shown = list(Release.objects.select_related("pipeline"))
    with django_assert_num_queries(2):
        assert len(trust.standings(rows_shown)) == len(rows_shown)
    assert trust.standings([]) == {}
