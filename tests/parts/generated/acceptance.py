"""A check of Schemathesis: the API accepts what its document allows, except by rules that JSON Schema cannot state."""

from typing import Any

from schemathesis import Case, CheckContext, GenerationMode, Response, check

BEYOND_SCHEMA = {("at", "NOT_MOMENT"), ("expiresAt", "INVALID")}
"""Members and codes of INVALID_REQUEST by such a rule, besides NOT_IDENTIFIER. Other problems name their rule."""


def documented_rules_are_complete(_: CheckContext, response: Response, case: Case[Any]) -> None:
    if response.status_code != 400 or not case.meta or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    problem = response.json()
    if problem["code"] == "INVALID_REQUEST":
        errors = [(error["field"], error["code"]) for error in problem.get("errors", ())]
        unsaid = [error for error in errors if error[1] != "NOT_IDENTIFIER" and error not in BEYOND_SCHEMA]
        assert not unsaid, problem["detail"]
        assert errors, problem["detail"]


check(documented_rules_are_complete)
