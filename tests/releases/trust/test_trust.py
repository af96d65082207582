import json
from typing import Any

import pytest

from governance.activation import gates
from governance.activation.activation import activate, planned
from releases import policy
from releases.errors import AttachmentInvalid, AttachmentUnknown, KeyConflict, KeyInvalid, KeyUnknown
from releases.models import Release
from releases.registration.verification import verify_release
from releases.trust import attachments, trust
from releases.trust.trust import Standing, Verdict
from tenancy.models import Tenant
from tests import making, signing
from tests.cases import cases
from tests.raw_sql import raised
from tests.releases.refusals import refusal

pytestmark = pytest.mark.django_db


def uploaded(owner: Tenant, *attached: bytes, version: str = "1.0") -> Release:
    contract = making.contract()
    data = making.archive(contract, code=version)
    release = making.upload(owner, making.descriptor(contract, data, version), data, attached=attached).release
    verify_release(release.pk)
    return Release.objects.select_related("pipeline__tenant", "pipeline__activation").get(pk=release.pk)


def document(version: str = "1.0") -> dict[str, Any]:
    contract = making.contract()
    return making.descriptor(contract, making.archive(contract, code=version), version)


def with_policy(release: Release, signature_policy: str) -> Release:
    policy.change(release.pipeline, {"signaturePolicy": signature_policy}, actor="user:admin")
    return Release.objects.select_related("pipeline__tenant", "pipeline__activation").get(pk=release.pk)


@cases(
    ("signers", "standing", "verdicts"),
    ([], Standing.UNSIGNED, []),
    (["ci"], Standing.SIGNED, [Verdict.VALID]),
    (["old"], Standing.REVOKED_KEYS, [Verdict.KEY_REVOKED]),
    (["stranger"], Standing.UNTRUSTED, [Verdict.KEY_UNKNOWN]),
    (["stranger", "ci"], Standing.SIGNED, [Verdict.KEY_UNKNOWN, Verdict.VALID]),
    (["old", "stranger"], Standing.UNTRUSTED, [Verdict.KEY_REVOKED, Verdict.KEY_UNKNOWN]),
)
def test_the_signers_decide(owner: Tenant, signers: list[str], standing: Standing, verdicts: list[Verdict]) -> None:
    signing.trusted(owner, "ci")
    trust.revoke_key(signing.trusted(owner, "old"), actor="user:admin", reason="left")
    signing.trusted(making.tenant(), "stranger")
    release = uploaded(owner, *([signing.envelope(document(), *signers)] if signers else []))
    evidence = trust.trust_of(release)
    assert (evidence.standing, [signer.verdict for signer in evidence.signers]) == (standing, verdicts)
    assert [signer.key_id for signer in evidence.signers] == [signing.key_id(name) for name in signers]


def test_the_key_id_of_a_signature_is_only_a_hint(owner: Tenant) -> None:
    key = signing.trusted(owner)
    true = json.loads(signing.envelope(document("2.0")))
    true["signatures"][0]["keyid"] = signing.key_id("stranger")
    [signer] = trust.trust_of(uploaded(owner, json.dumps(true).encode(), version="2.0")).signers
    assert (signer.verdict, signer.key) == (Verdict.VALID, key)
    forged = json.loads(signing.envelope(document(), "stranger"))
    forged["signatures"][0]["keyid"] = key.key_id
    evidence = trust.trust_of(uploaded(owner, json.dumps(forged).encode()))
    assert (evidence.standing, [(signer.verdict, signer.key) for signer in evidence.signers]) == (
        Standing.UNTRUSTED,
        [(Verdict.BAD_SIGNATURE, key)],
    )


@cases("signer", ["", "ci", "old"])
def test_the_signature_policy_applies_to_activations(owner: Tenant, signer: str) -> None:
    signing.trusted(owner)
    trust.revoke_key(signing.trusted(owner, "old"), actor="user:admin", reason="left")
    release = uploaded(owner, *([signing.envelope(document(), signer)] if signer else []))
    for required in ("require", "warn", "off"):
        release = with_policy(release, required)
        if required == "require" and signer != "ci":
            error = refusal(activate, release, actor="user:test")
            standing = "REVOKED_KEYS" if signer else "UNSIGNED"
            assert (error.code, error.data) == ("SIGNATURE_REQUIRED", {"standing": standing})
        else:
            assert activate(release, actor="user:test").release_id == release.pk
        judged = gates.judge(planned(release))
        warned = [gate for gate in judged if gate.name == "signatures" and gate.verdict is not gates.Verdict.MET]
        assert bool(warned) is (signer == "old" or (required != "off" and signer != "ci"))


def test_signed_provenance_is_not_a_signature_over_the_release(owner: Tenant) -> None:
    signing.trusted(owner)
    proof = signing.envelope(
        signing.statement(document()["artifacts"][0]["digest"]), payload_type="application/vnd.in-toto+json"
    )
    release = with_policy(uploaded(owner, proof), "require")
    assert trust.trust_of(release).standing is Standing.UNSIGNED
    [signer] = trust.signers_of(release.attachments.get(), list(trust.keys_of(owner)))
    assert signer.verdict is Verdict.VALID
    assert refusal(activate, release, actor="user:test").code == "SIGNATURE_REQUIRED"


def test_a_contradicting_attachment_rejects_the_release_or_is_rejected_itself(owner: Tenant) -> None:
    attached = signing.envelope({**document(), "releaseVersion": "2.0"})
    rejected = uploaded(owner, attached)
    assert rejected.status == "REJECTED"
    assert "SIGNATURE_OTHER_DESCRIPTOR" in {finding["code"] for finding in rejected.findings}
    assert trust.trust_of(rejected).signers == ()
    release = uploaded(owner)
    caught = raised(AttachmentInvalid, attachments.attach, release, [attached], actor="user:test")
    assert caught.errors[0]["code"] == "SIGNATURE_OTHER_DESCRIPTOR"
    assert release.attachments.count() == 0


def test_an_attachment_is_found_only_in_its_own_pipeline(owner: Tenant) -> None:
    kept = uploaded(owner, signing.envelope(document())).attachments.get()
    other = making.registered(making.tenant())
    raised(AttachmentUnknown, attachments.find, other.pipeline, kept.digest)


def test_a_key_is_stored_in_one_form_for_its_tenant_with_a_name_of_its_own(owner: Tenant) -> None:
    pem = "\n  " + signing.public_pem() + "\n\n"
    key = trust.add_key(owner, name=" ci ", public_key=pem, actor="user:admin")
    assert (key.name, key.key_id, key.public_key) == ("ci", signing.key_id(), signing.public_pem())
    assert trust.find_key(owner, key.key_id) == key
    raised(KeyUnknown, trust.find_key, making.tenant(), key.key_id)
    trust.revoke_key(key, actor="user:admin", reason="leaked")
    for name, pem in (("ci", signing.public_pem("other")), ("other", signing.public_pem())):
        raised(KeyConflict, trust.add_key, owner, name=name, public_key=pem, actor="user:admin")
        assert trust.add_key(making.tenant(), name=name, public_key=pem, actor="user:admin").name == name
    for name, pem, field in ((" ", signing.public_pem("new"), "name"), ("new", "no key", "publicKey")):
        caught = raised(KeyInvalid, trust.add_key, owner, name=name, public_key=pem, actor="user:admin")
        assert [error["field"] for error in caught.errors] == [field]
    assert trust.keys_of(owner).get() == key


def signed(owner: Tenant, version: str, *names: str) -> Release:
    release = making.registered(owner, version)
    if names:
        attachments.attach(release, [signing.envelope(release.descriptor, *names)], actor="user:test")
    return Release.objects.select_related("pipeline__tenant").get(pk=release.pk)


def test_a_list_of_several_tenants_uses_the_keys_of_each_releases_tenant(owner: Tenant) -> None:
    here, there = owner, making.tenant()
    signing.trusted(here, "ours")
    signing.trusted(there, "theirs")
    expected = {
        signed(here, "1.0", "ours").pk: Standing.SIGNED,
        signed(here, "2.0", "theirs").pk: Standing.UNTRUSTED,
        signed(here, "3.0").pk: Standing.UNSIGNED,
        signed(there, "1.0", "ours").pk: Standing.UNTRUSTED,
        signed(there, "2.0", "theirs").pk: Standing.SIGNED,
    }
    assert trust.standings(Release.objects.select_related("pipeline").all()) == expected
    for release in Release.objects.select_related("pipeline__tenant").all():
        assert trust.trust_of(release).standing == expected[release.pk]
