"""Concurrent changes of keys and attachments, and activations."""

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from django.db import connections, transaction

from releases.activation import gates, policy
from releases.activation.activation import activate
from releases.activation.gates import Switch
from releases.models import Activation, Attachment, KeyRevocation, Kind, Release, TrustedKey
from releases.registration import attachments
from releases.trust import trust, trusted_keys
from tests import making, signing
from tests.concurrency.racing import parted, race, results_of
from tests.repetition import rounds

pytestmark = pytest.mark.usefixtures("committed")
ROUNDS = rounds(8)


@pytest.mark.parametrize("_", ROUNDS)
def test_a_revocation_of_the_key_and_an_activation_are_serialized(_: int) -> None:
    release = making.registered(making.tenant())
    policy.change(release.pipeline, {"signaturePolicy": "require"}, actor="user:x")
    attachments.attach(release, [signing.envelope(release.descriptor)], actor="user:x")
    key = signing.trusted(release.pipeline.tenant)
    release = Release.objects.select_related("pipeline__tenant").get(pk=release.pk)
    won, lost = parted(
        race(
            partial(activate, release, actor="user:x"),
            partial(trusted_keys.revoke, key, actor="user:y", reason="leaked"),
        )
    )
    assert lost in ([], ["SignatureRequired"])
    assert KeyRevocation.objects.filter(key=key).count() == 1
    assert Activation.objects.count() == len(won) - 1


def test_a_revocation_waits_for_an_activation_that_uses_the_key() -> None:
    release = making.registered(making.tenant())
    attachments.attach(release, [signing.envelope(release.descriptor)], actor="user:x")
    key = signing.trusted(release.pipeline.tenant)
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            [gate] = gates.require_met(Switch(release, release.pipeline, Kind.ACTIVATION, binding=True))
            assert (gate.verdict, gate.detail) == (gates.Verdict.MET, "Signed by ci.")
            revoking = pool.submit(revoked, key)
            with pytest.raises(TimeoutError):
                revoking.result(0.5)
            assert trust.of(release).standing is trust.Standing.SIGNED
        assert revoking.result(30).key_id == key.pk
    assert trust.of(release).standing is trust.Standing.REVOKED_KEYS


def revoked(key: TrustedKey) -> KeyRevocation:
    try:
        return trusted_keys.revoke(key, actor="user:y", reason="leaked")
    finally:
        connections.close_all()


@pytest.mark.parametrize("_", ROUNDS)
def test_concurrent_attachments_are_all_stored_and_equal_ones_once(_: int) -> None:
    release = making.registered(making.tenant())
    contents = [json.dumps(signing.cyclone([f"c{number}"])).encode() for number in range(3)]
    results_of(race(*[partial(attachments.attach, release, [content], actor="user:x") for content in contents * 2]))
    kept = Attachment.objects.filter(release=release)
    assert [each.position for each in kept] == [0, 1, 2]
    assert {bytes(each.content) for each in kept} == set(contents)
