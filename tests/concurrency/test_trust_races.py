"""Keys, signatures and activations at the same time, over connections of their own."""

import json
from functools import partial

import pytest

from releases import attachments, policy, trusted_keys
from releases.activation import activate
from releases.models import Activation, Attachment, KeyRevocation, Release
from tests import making, signing
from tests.concurrency.racing import given, parted, race

pytestmark = pytest.mark.usefixtures("committed")
ROUNDS = range(8)


@pytest.mark.parametrize("_", ROUNDS)
def test_a_revocation_of_the_key_comes_before_an_activation_or_after_it(_: int) -> None:
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


@pytest.mark.parametrize("_", ROUNDS)
def test_a_key_that_is_revoked_many_times_at_once_has_one_revocation(_: int) -> None:
    key = signing.trusted(making.tenant())
    made = given(race(*[partial(trusted_keys.revoke, key, actor="user:y", reason="leaked")] * 4))
    assert len({event.pk for event in made}) == 1


@pytest.mark.parametrize("_", ROUNDS)
def test_attachments_at_once_are_all_kept_and_equal_ones_once(_: int) -> None:
    release = making.registered(making.tenant())
    contents = [json.dumps(signing.cyclone([f"c{number}"])).encode() for number in range(3)]
    given(race(*[partial(attachments.attach, release, [content], actor="user:x") for content in contents * 2]))
    kept = Attachment.objects.filter(release=release)
    assert [each.position for each in kept] == [0, 1, 2]
    assert {bytes(each.content) for each in kept} == set(contents)
