"""The pages of the audit log: list, filters, exports, entries; and what log-ins and users leave in it."""

import csv
import json
from io import StringIO
from typing import Any

from django.contrib.auth.models import User
from django.test import Client

from tenancy import audit
from tenancy.models import AuditEntry
from tests.admin.browsing import exported, to
from tests.admin.conftest import LogIn, World

ENTRIES = "tenancy_auditentry"
LIST = f"{ENTRIES}_changelist"
ACT = "act=thing.change"


def add(world: World | None, of: str, **details: Any) -> None:
    tenant = world.tenant if world else None
    members = {"object_type": "thing", "object": of, "reason": "<b>why</b>"}
    audit.record("thing.change", tenant=tenant, actor="user:eva", **members, **details)


def objects(client: Client, query: str) -> list[str]:
    """Return the objects of the entries in the export."""
    return [row["object"] for row in csv.DictReader(StringIO(exported(client, ENTRIES, "csv", query)))]


def test_the_list_shows_the_entries_of_the_tenant(log_in: LogIn, admin: Client, acme: World, globex: World) -> None:
    names = ("ours", "theirs", "of-the-installation")
    for world, of in zip((acme, globex, None), names, strict=True):
        add(world, of, decision="approve", nothing=None, why="<b>")
    page = admin.get(to(LIST)).text
    assert [of in page for of in names] == [True, False, False]
    assert "<b>" not in page.partition('id="result_list"')[2]
    assert all(of in log_in("superuser").get(to(LIST)).text for of in names)
    entry = AuditEntry.objects.get(tenant=None, act="thing.change")
    address = to("tenancy_auditentry_change", entry)
    assert [log_in(who).get(address).status_code for who in ("superuser", "tenant-admin")] == [200, 404]


def test_the_filters_select_entries_and_exports(log_in: LogIn, admin: Client, acme: World, globex: World) -> None:
    for world, of in ((acme, "one"), (acme, "two"), (globex, "theirs"), (None, "three")):
        add(world, of)
    client, everything = log_in("superuser"), ["one", "theirs", "three", "two"]
    for query, expected in {
        "": everything,
        "&tenant=acme": ["one", "two"],
        "&tenant=-": ["three"],
        "&object=two": ["two"],
        "&outcome=denied": [],
        "&actor=user:eva&from=2020-01-01&tenant=acme": ["one", "two"],
        "&to=2020-01-01T00:00:00Z": [],
        "&from=nonsense": [],
    }.items():
        assert sorted(objects(client, ACT + query)) == expected, query
        assert len(exported(client, ENTRIES, "ndjson", ACT + query).splitlines()) == len(expected)
        assert client.get(f"{to(LIST)}?{ACT}{query}").status_code == 200
    assert sorted(objects(admin, ACT)) == ["one", "two"]
    assert admin.get(to("tenancy_auditentry_export", "xml")).status_code == 404
    add(acme, "x", number=1)
    [line] = exported(admin, ENTRIES, "ndjson", f"{ACT}&object=x").splitlines()
    assert json.loads(line)["details"] == {"number": 1}


PASSWORD = "correct horse battery"


def entries() -> list[AuditEntry]:
    return list(AuditEntry.objects.order_by("id"))


def test_a_changed_user_leaves_an_entry_without_the_password(log_in: LogIn, acme: World) -> None:
    client, mia = log_in("superuser"), User.objects.get(username="viewer")
    before = len(entries())
    client.post(to("auth_user_change", mia), {"username": "mia", "is_superuser": "on"})
    client.post(to("auth_user_password_change", mia), {"password1": PASSWORD, "password2": PASSWORD})
    changed, *renewed = entries()[before:]
    assert (changed.act, renewed[0].act) == ("user.change", "user.password")
    for text in ('"is_active":false', '"is_superuser":true'):
        assert text in changed.details
    fields = {"tenant": acme.tenant.pk, "name": "ci", "scopes": ["read"], "lifetime": "30"}
    plain = log_in("tenant-admin").post(to("tenancy_apitoken_add"), fields).context["plain"]
    assert entries()[-1].object == "ci"
    written = "".join(f"{entry.__dict__}" for entry in entries())
    assert [text in written for text in (PASSWORD, plain)] == [False, False]


def test_log_ins_and_log_outs_leave_entries(acme: World, settings: Any, fast_hashing: None) -> None:
    User.objects.create_superuser("root", password=PASSWORD)
    client, before = Client(), len(entries())
    settings.LOGIN_ATTEMPTS = 2
    for username, password in (("root", "wrong"), (PASSWORD, "wrong"), ("root", PASSWORD)):
        client.post(to("login"), {"username": username, "password": password})
    client.post(to("logout"))
    for _ in range(6):
        Client().post(to("login"), {"username": "viewer", "password": "wrong"})
    found = entries()[before:]
    assert [(entry.act, entry.outcome, entry.actor, entry.object) for entry in found[:4]] == [
        ("user.log_in", "failed", "anonymous", "root"),
        ("user.log_in", "failed", "anonymous", "(unknown)"),
        ("user.log_in", "granted", "user:root", "root"),
        ("user.log_out", "granted", "user:root", "root"),
    ]
    assert [entry.outcome for entry in found[4:]] == ["failed", "denied"]
    assert all(entry.tenant is None and entry.address == "127.0.0.1" for entry in found)
