from collections.abc import Callable
from typing import Any, TypeVar

import pytest

E = TypeVar("E", bound=BaseException)


def error_of(error: type[E], call: Callable[..., object], /, *arguments: Any, **members: Any) -> E:
    """Return the error that the call raises. Fails the test if it raises none, or another one."""
    with pytest.raises(error) as caught:
        call(*arguments, **members)
    return caught.value
