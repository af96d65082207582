"""The OpenAPI document is complete: every input and output has a type, except values that may be any JSON."""

from typing import Any

from tests.api.furnished import operations


def test_each_operation_documents_its_token_responses_and_errors(document: dict[str, Any]) -> None:
    for operation in operations(document).values():
        statuses = operation["responses"]
        assert any(status < "300" for status in statuses)
        for status, response in statuses.items():
            assert response["content"]
            if status >= "400":
                [(media, content)] = response["content"].items()
                assert (media, content["schema"]) == (
                    "application/problem+json",
                    {"$ref": "#/components/schemas/Problem"},
                )
                assert response["x-codes"], status
        anonymous = operation["operationId"] == "resume"
        assert statuses.keys() >= ({"406", "500"} if anonymous else {"401", "403", "404", "406", "500"})
        assert anonymous or operation["security"] == [{"bearerToken": []}]
        path = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
        assert anonymous or "tenant" in path
        assert operation["description"]
