"""A valid new row of a deployment, and every wrong value of it."""

from tests.invariants.new_rows import Change, NewRow, digest, each, pipeline, release, tenant, times
from tests.invariants.new_rows_of_releases import OTHER_PIPELINE

OF_RIVAL = f"UPDATE releases_pipeline SET application = 'orders' WHERE id = {pipeline('rival')}"
WITHOUT_APPLICATION = release("1.0", "owner", OTHER_PIPELINE)


def of(release_id: str, **changes: str) -> Change:
    """Return a deployment of another release, with the digest of its descriptor."""
    found = f"(SELECT descriptor_digest FROM releases_release WHERE id = {release_id})"
    return {"release_id": release_id, "descriptor_digest": found, **changes}


DEPLOYMENTS = [
    NewRow(
        "releases_deployment",
        {
            "id": "gen_random_uuid()",
            "tenant_id": tenant("owner"),
            "idempotency_key": "'new'",
            **of(release("0.5")),
            "application": "'orders'",
            "environment": "'production'",
            "actor": "''",
            "created_at": "now()",
        },
        {
            "deployment_starts": times("created_at"),
            "deployment_of_verified_release": [
                *(of(release(version)) for version in ("0.2", "0.3", "0.4")),
                of("0", descriptor_digest=digest("x")),
                {**of(release("1.0", "rival")), "setup": OF_RIVAL},
                *each("tenant_id", tenant("rival"), tenant("other"), "0"),
                *each("application", "'other'", "'Orders'", "''"),
                of(WITHOUT_APPLICATION),
                *each("descriptor_digest", digest("x"), "''"),
                of(release("1.0"), descriptor_digest=of(release("0.5"))["descriptor_digest"]),
            ],
            "deployment_key_once": each("idempotency_key", "'deployed'"),
            "deployment_names_its_place": [
                *each("idempotency_key", "''"),
                *each("environment", "''"),
                of(WITHOUT_APPLICATION, application="''"),
            ],
            "releases_deployment_pkey": each("id", "(SELECT id FROM releases_deployment)"),
        },
        [
            of(release("0.1")),
            {
                **of(release("1.0", "rival"), tenant_id=tenant("rival"), idempotency_key="'deployed'"),
                "setup": OF_RIVAL,
            },
        ],
        free="actor",
    ),
]
