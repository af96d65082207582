import json
import os
import time
from uuid import UUID

from generated_client import AuthenticatedClient
from generated_client.api.executions import execution_result, submit_execution, submit_executions
from generated_client.models import AcceptedView, BatchRequest, Problem, SubmissionRequest

client = AuthenticatedClient(base_url=os.environ["URL"], token=os.environ["TOKEN"])
tenant = os.environ["TENANT"]
inputs = json.loads(os.environ["INPUTS"])


def result(execution_id: UUID) -> object:
    while (execution := execution_result.sync(tenant, execution_id, client=client)).status != "SUCCEEDED":
        time.sleep(0.05)
    return execution.result


submissions = [
    SubmissionRequest(pipeline_id=pipeline, input_=value, idempotency_key="openapi-python-client")
    for pipeline, value in inputs.items()
]
results = []
for submission in submissions:
    accepted = submit_execution.sync(tenant, client=client, body=submission)
    assert isinstance(accepted, AcceptedView), accepted
    results.append(result(accepted.execution_id))

unknown = SubmissionRequest(pipeline_id="tests.unknown", input_={}, idempotency_key="k")
batch = submit_executions.sync(tenant, client=client, body=BatchRequest(items=[*submissions, unknown]))
refused = submit_execution.sync(tenant, client=client, body=unknown)
assert isinstance(refused, Problem)
print(
    json.dumps(
        {
            "results": results,
            "batch": [[item.status, item.problem and item.problem.code] for item in batch.items],
            "refused": [refused.status, refused.code],
        }
    )
)
