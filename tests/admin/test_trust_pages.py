"""Trusted keys, signatures and attachments in the admin."""

import json
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from releases.models import KeyRevocation, Release, TrustedKey
from tests import signing
from tests.admin.browsing import to
from tests.admin.conftest import LogIn, World
from tests.raw_sql import rows


def page(world: World) -> str:
    return to("releases_release_change", world.release)


def signed(world: World, *names: str) -> bytes:
    return signing.envelope(world.release.descriptor, *names)


def attach(client: Client, world: World, *contents: bytes) -> Any:
    files = {"attachment": [SimpleUploadedFile("attached.json", content) for content in contents]}
    return client.post(to("releases_release_attach", world.release), files)


def test_an_administrator_trusts_a_key_and_revokes_it(log_in: LogIn, acme: World) -> None:
    client, new = log_in("tenant-admin"), to("releases_trustedkey_new")
    body = {"tenant": acme.tenant.pk, "name": "ci", "public_key": signing.public_pem()}
    assert client.post(new, {**body, "public_key": "none"}).status_code in {400, 422}
    answer = client.post(new, body)
    key = TrustedKey.objects.get()
    assert answer["Location"] == to("releases_trustedkey_change", key)
    assert (key.tenant, key.key_id, key.added_by) == (acme.tenant, signing.key_id(), "user:tenant-admin-of-acme")
    assert client.post(new, body).status_code == 409
    revoke = to("releases_trustedkey_revoke", key)
    assert client.post(revoke, {"reason": " "}).status_code == 302
    assert rows(KeyRevocation) == []
    shown = client.post(revoke, {"reason": "leaked"}, follow=True)
    assert ["leaked" in shown.text, "data-revoke" in shown.text] == [True, False]
    assert KeyRevocation.objects.get().actor == "user:tenant-admin-of-acme"


def test_a_release_manager_attaches_and_a_viewer_downloads(
    log_in: LogIn, manager: Client, acme: World, newer: Release
) -> None:
    digest = acme.release.artifacts.get().digest
    sent = [signed(acme), json.dumps(signing.statement(digest)).encode(), json.dumps(signing.spdx()).encode()]
    assert attach(manager, acme, *sent).status_code == 302
    assert "https://ci.example/builder" in manager.get(page(acme)).text
    kept = list(acme.release.attachments.all())
    assert [each.attached_by for each in kept] == ["user:release-manager"] * 3
    copy = log_in("viewer").get(to("releases_release_attachment", acme.release, kept[1]))
    assert copy.content == sent[1]
    assert copy["Content-Disposition"].startswith("attachment;")
    assert log_in("viewer").get(to("releases_release_attachment", newer, kept[1])).status_code == 404
    for who, status in (("on-call", 403), ("stranger", 404)):
        assert attach(log_in(who), acme, signed(acme, "other")).status_code == status
    assert acme.release.attachments.count() == 3
