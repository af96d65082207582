"""A release with all that a release can have: an activation, a revocation, attachments, keys and a deployment."""

import pytest

from releases.activation.retirement import retire
from releases.activation.revocation import revoke
from releases.models import BlobEvent, Deployment, Pipeline, Release
from releases.registration import attachments
from releases.trust import trusted_keys
from tests import making, signing
from tests.raw_sql import check_foreign_keys_now


@pytest.fixture
def release() -> Release:
    made = making.active(making.tenant())
    BlobEvent.objects.create(digest=made.artifacts.get().digest, kind=BlobEvent.Kind.DAMAGED)
    revoke(making.registered(made.pipeline.tenant, "0.1"), actor="user:test", reason="leaked")
    retire(making.registered(made.pipeline.tenant, "0.2"), actor="user:test", reason="replaced")
    attachments.attach(made, [signing.envelope(made.descriptor)], actor="user:test")
    signing.trusted(made.pipeline.tenant, "new")
    trusted_keys.revoke(signing.trusted(made.pipeline.tenant, "old"), actor="user:test", reason="left")
    Pipeline.objects.filter(pk=made.pipeline_id).update(application="orders")
    Deployment.objects.create(
        tenant=made.pipeline.tenant,
        idempotency_key="deployed",
        release=made,
        descriptor_digest=made.descriptor_digest,
        application="orders",
        environment="production",
        actor="user:test",
    )
    check_foreign_keys_now()
    made.pipeline.refresh_from_db()
    return made
