from collections.abc import Callable
from typing import Any

import pytest

from foundation.errors import CoordinatorError
from releases.models import (
    Activation,
    ActivationRequest,
    GradualActivation,
    Pipeline,
    Release,
    Retirement,
    Revocation,
    Vote,
)
from tests.raw_sql import rows

TABLES = (Activation, ActivationRequest, GradualActivation, Pipeline, Release, Retirement, Revocation, Vote)


def refusal(call: Callable[..., object], *arguments: Any, **members: Any) -> CoordinatorError:
    """Return the error of a call that changes nothing about releases and their activations."""
    before = [rows(table) for table in TABLES]
    with pytest.raises(CoordinatorError) as caught:
        call(*arguments, **members)
    assert [rows(table) for table in TABLES] == before
    return caught.value
