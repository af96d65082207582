from datetime import timedelta
from typing import Any

import pytest

from pipelines import ACTIVE, DefinitionError, Pipeline
from pipelines.authoring.compiler import compile_contract
from tests.cases import cases
from wire.documents.contract import contract_from_json
from wire.findings import DocumentError


def contract(**changes: Any) -> dict[str, Any]:
    made = Pipeline("org.acme.returns", module=__name__)
    given = {"pipeline_id": "refunds", "release": ACTIVE, "timeout": timedelta(days=7), **changes}
    made.calls("Refund", given.pop("pipeline_id"), request=int, response=str, **given)
    return compile_contract(made)


def test_the_contract_says_which_release_of_which_pipeline_is_called() -> None:
    [named], [active] = contract(release="1.4.2")["steps"], contract()["steps"]
    assert {**active, "callsRelease": "1.4.2"} == named
    assert (named["kind"], named["awaitTransport"], named["callsPipeline"]) == ("await", "pipeline", "refunds")
    with pytest.raises(DocumentError, match="only an await over the transport 'pipeline'"):
        contract_from_json({**contract(), "steps": [{**active, "awaitTransport": "webhook"}]})


@cases(
    ("changes", "code"),
    [({"pipeline_id": pipeline_id}, "INVALID_PIPELINE_ID") for pipeline_id in ("two words", "", None)]
    + [({"release": release}, "INVALID_RELEASE") for release in (None, "", "a/b", "x" * 501, " 1")]
    + [({"timeout": timedelta(0)}, "INVALID_TIMEOUT")],
)
def test_wrong_calls(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(DefinitionError) as raised:
        contract(**changes)
    assert raised.value.code == code
