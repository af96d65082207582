"""A revocation of a key, concurrent with an activation."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections, transaction

from releases.activation import gates
from releases.activation.gates import Switch
from releases.models import KeyRevocation, Kind, TrustedKey
from releases.registration import attachments
from releases.trust import trust, trusted_keys
from tests import making, signing

pytestmark = pytest.mark.usefixtures("committed")


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
