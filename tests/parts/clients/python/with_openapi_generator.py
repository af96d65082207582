import json
import os
from uuid import UUID

from generated_client import (
    ApiClient,
    ApiException,
    BatchRequest,
    Configuration,
    ExecutionsApi,
    Problem,
    SubmissionRequest,
)

api = ExecutionsApi(ApiClient(Configuration(host=os.environ["URL"], access_token=os.environ["TOKEN"])))
tenant = os.environ["TENANT"]
inputs = json.loads(os.environ["INPUTS"])


def result(execution_id: UUID) -> object:
    return api.execution_result(execution_id, tenant, wait=30).result


submissions = [
    SubmissionRequest(pipeline_id=pipeline, input=value, idempotency_key="openapi-generator")
    for pipeline, value in inputs.items()
]
results = []
for submission in submissions:
    results.append(result(api.submit_execution(tenant, submission).execution_id))

unknown = SubmissionRequest(pipeline_id="tests.unknown", input={}, idempotency_key="k")
batch = api.submit_executions(tenant, BatchRequest(items=[*submissions, unknown]))
try:
    api.submit_execution(tenant, unknown)
except ApiException as error:
    refused = error.data
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
