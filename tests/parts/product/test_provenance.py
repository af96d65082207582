"""Which exact code ran this? `pipelines verify-provenance` of the guide checks the signed answer of the product."""

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import requests

from embedded.product import BIN, PROJECT
from tests.running import BuiltRelease, TenantInUse

GUIDE = (PROJECT / "docs" / "provenance.md").read_text(encoding="utf-8")
PATH = f"{BIN}:{os.environ['PATH']}"


def block() -> tuple[list[str], list[str]]:
    """Return the two commands of the guide as words: the download and the check."""
    [text] = re.findall(r"```sh\n(.*?)```", GUIDE.partition("\n## ")[0], re.DOTALL)
    download, check = text.replace("\\\n", " ").strip().split("\n")
    return shlex.split(download), shlex.split(check)


def test_the_code_of_an_execution_is_proven_with_the_commands_of_the_guide(
    tenant: TenantInUse, v1: BuiltRelease, v2: BuiltRelease, tmp_path: Path
) -> None:
    tenant.host(v1, "worker-v1")
    execution_id = tenant.accepted("tests.pinned", {"number": 1, "fail_times": 1}, "a key")["executionId"]
    tenant.wait_for(execution_id, "SUCCEEDED")

    folder = tmp_path / "verifier"
    (folder / "dist/1.0").mkdir(parents=True)
    shutil.copy(v1.artifact, folder / "dist/1.0/org.acme.orders.zip")
    shutil.copy(v1.descriptor, folder / "dist/1.0")
    (folder / "coordinator.pub.pem").write_text(tenant.get("provenance-key")["publicKey"])
    download, check = block()
    values = {
        "$COORDINATOR_URL": tenant.product.url,
        "$COORDINATOR_TENANT": tenant.tenant.slug,
        "$EXECUTION_ID": execution_id,
    }
    url = download[-1]
    for name, value in values.items():
        url = url.replace(name, value)
    answer = requests.get(url, headers={"Authorization": str(tenant.http.headers["Authorization"])}, timeout=30)
    answer.raise_for_status()
    (folder / check[2]).write_bytes(answer.content)

    def checked(*more: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(BIN) / check[0]), *check[1:], *more]
        return subprocess.run(command, cwd=folder, env={"PATH": PATH}, capture_output=True, text=True, check=False)

    proven = checked("--json")
    assert (proven.returncode, proven.stderr) == (0, "")
    facts = json.loads(proven.stdout)
    assert (facts["verified"], facts["pinnedThroughout"], facts["finished"]) == (True, True, True)
    assert facts["artifacts"] == [v1.document["artifacts"][0]["digest"]]
    assert [(run["outcome"], run["worker"], run["code"]) for run in facts["runs"]] == [
        ("RETRY_SCHEDULED", "worker-v1", "artifact"),
        ("SUCCEEDED", "worker-v1", "artifact"),
    ]
    assert all(run["environment"] and run["findings"] == [] for run in facts["runs"])
    assert "SUCCEEDED by worker-v1" in checked().stdout

    shutil.copy(v2.artifact, folder / "dist/1.0/org.acme.orders.zip")
    refused = checked()
    assert refused.returncode == 1
    assert "error: ARTIFACT_DID_NOT_RUN: " in refused.stderr
