"""Names of steps."""


def step_id(authored_name: str) -> str:
    """Return the id of a step, such as ``ProcessAskCookService`` for ``Ask cook`` (wire protocol A.1.2)."""
    words = authored_name.removeprefix("Process ").split(" ")
    return f"Process{''.join(word.lower().capitalize() for word in words)}Service"


def humanised(function_name: str) -> str:
    """Return a step's name for a function: ``Parse file`` for ``parse_file``."""
    words = " ".join(function_name.replace("_", " ").split())
    return words[:1].upper() + words[1:]
