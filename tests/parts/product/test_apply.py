"""`coordinator apply` against the running product: a plan, its application, and nothing to do afterwards."""

from pathlib import Path
from typing import Any

import pytest

from tenancy.models import Membership
from tenancy.roles import Role, Scope
from tests import signing
from tests.command_line import CommandLine
from tests.running import BuiltRelease, RunningProduct, TenantInUse

P = "tests.pinned"


@pytest.fixture
def run(tenant: TenantInUse, tmp_path: Path) -> CommandLine:
    own = {"COORDINATOR_URL": tenant.product.url, "COORDINATOR_TENANT": tenant.tenant.slug}
    return CommandLine(tmp_path, {**own, "COORDINATOR_TOKEN": tenant.token(Scope)})


def test_a_tenant_becomes_what_its_file_says(
    run: CommandLine, running: RunningProduct, tenant: TenantInUse, v1: BuiltRelease
) -> None:
    tenant.register(v1)
    eva, admin = f"eva-{tenant.tenant.slug}", tenant.admin.username
    running.member(tenant.tenant, Role.VIEWER, eva)
    (run.home / "ci.pem").write_text(signing.public_pem("ci"))
    text = f"""
        tenant: {tenant.tenant.slug}
        pipelines:
          {P}:
            policy:
              workerGate: off     # a text, as YAML 1.2 says
              approvals: 1
              retryDelaySeconds: 2
        trustedKeys:
          - name: ci
            publicKeyFile: ci.pem
        members:
          {eva}: [operator, on-call]
          {admin}: [tenant-admin]
        complete: [members, trustedKeys]
    """
    (run.home / "tenant.yaml").write_text(text)

    planned = run("apply", "tenant.yaml", "--dry-run")
    assert (planned.status, planned.err) == (1, "")
    assert planned.out.splitlines() == [
        f"~ pipelines.{P}.policy.approvals: 0 -> 1",
        f"+ pipelines.{P}.policy.retryDelaySeconds: 2",
        '+ trustedKeys.ci: "trusted"',
        f'+ members.{eva}: "on-call"',
        f'+ members.{eva}: "operator"',
        f'- members.{eva}: "viewer"',
        "6 to change",
    ]
    assert tenant.get(f"pipelines/{P}")["approvals"] == 0

    done = run("apply", "tenant.yaml", "--yes")
    assert done.status == 0, done
    pipeline: dict[str, Any] = tenant.get(f"pipelines/{P}")
    assert (pipeline["approvals"], pipeline["retryDelaySeconds"], pipeline["workerGate"]) == (1, 2, "off")
    roles = Membership.objects.filter(tenant=tenant.tenant).values_list("user__username", "role")
    assert set(roles) == {(eva, "operator"), (eva, "on-call"), (admin, "tenant-admin")}
    assert [key["name"] for key in tenant.get("trusted-keys")["items"]] == ["ci"]
    acts = [each["act"] for each in run.json("audit", "list", "--limit=20")]
    assert {"policy.change", "trusted_key.add", "membership.add", "membership.remove"} <= set(acts)

    again = run("apply", "tenant.yaml", "--yes")
    assert (again.status, again.out) == (0, "nothing to change\n")
    assert [each["act"] for each in run.json("audit", "list", "--limit=20")] == acts

    (run.home / "tenant.yaml").write_text("trustedKeys: []\ncomplete: [trustedKeys]\n")
    assert run("apply", "tenant.yaml", "--yes").out.splitlines()[0] == '- trustedKeys.ci: "trusted"'
    assert [key["revocation"] is None for key in tenant.get("trusted-keys")["items"]] == [False]

    text = f"pipelines:\n  {P}:\n    policy: {{reasonRequired: true}}\nmembers:\n  nobody: [viewer]\n"
    (run.home / "tenant.yaml").write_text(text)
    refused = run("apply", "tenant.yaml", "--yes")
    assert (refused.status, "USER_UNKNOWN" in refused.err, "after 1 of 2 requests" in refused.err) == (3, True, True)
    assert tenant.get(f"pipelines/{P}")["reasonRequired"] is True
