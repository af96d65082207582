"""What a step declares about its retries and its time: ``@pipeline.step(retries=5, timeout=30)``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypedDict

from pipelines.errors import DefinitionError, EventLoopBlocked, NonRetryable

if TYPE_CHECKING:
    from wire.retry import RetryPolicy

Seconds = float | timedelta
Exceptions = type[BaseException] | tuple[type[BaseException], ...]


class StepOptions(TypedDict, total=False):
    """The policy of a step, which a release pins. The policy of the pipeline has what is missing or None.

    ``retries`` is the number of retries after the first attempt (0 to 1,000). ``delay`` is the time before the first
    retry. Each further delay is ``multiplier`` times as long (1 to 100), at most ``max_delay``. Delays are at most 30
    minutes. With ``jitter=False``, no delay is shortened at random. A call that takes longer than ``timeout`` (0.1
    seconds to 7 days) fails. Times are seconds or timedeltas. With ``retry_on``, only errors of these classes are
    retried. Errors of the classes in ``give_up_on`` are never retried.
    """

    retries: int | None
    delay: Seconds | None
    multiplier: float | None
    max_delay: Seconds | None
    jitter: bool | None
    timeout: Seconds | None
    retry_on: Exceptions | None
    give_up_on: Exceptions | None


_MOST_CLASSES: Final = 100
_MEMBERS: Final = {
    "retries": "retries",
    "delay": "delaySeconds",
    "multiplier": "multiplier",
    "max_delay": "maxDelaySeconds",
    "timeout": "timeoutSeconds",
}
"""The member of the declaration of each option that is a number."""


@dataclass(frozen=True, slots=True)
class StepPolicy:
    """The declared options. None, or no classes, means that the step does not declare it.

    ``delay``, ``max_delay`` and ``timeout`` are in seconds.
    """

    retries: int | None = None
    delay: float | None = None
    multiplier: float | None = None
    max_delay: float | None = None
    jitter: bool | None = None
    timeout: float | None = None
    retry_on: tuple[type[BaseException], ...] = ()
    give_up_on: tuple[type[BaseException], ...] = ()

    def declared(self) -> dict[str, Any]:
        """Return the declaration, as `wire.documents.step_policy` describes it."""
        members = {member: getattr(self, option) for option, member in _MEMBERS.items()}
        members |= {"jitter": self.jitter, "retryOn": _names(self.retry_on), "giveUpOn": _names(self.give_up_on)}
        return {name: value for name, value in members.items() if value not in (None, [])}

    def changed(self, members: Mapping[str, Any]) -> StepPolicy:
        """Return this policy with other values for some members of its declaration: numbers and the jitter."""
        options = {member: option for option, member in _MEMBERS.items()} | {"jitter": "jitter"}
        return replace(self, **{options[name]: value for name, value in members.items() if name in options})

    def retries_after(self, default: RetryPolicy) -> RetryPolicy:
        """Return when a failure of the step is retried. ``default`` has what the step does not declare."""
        from wire.documents.step_policy import retry_policy  # most workers do not need it

        return retry_policy(self.declared(), default)

    def decisive(self, error: BaseException) -> tuple[BaseException, bool]:
        """Return the error that decides about a retry, and whether the failure may be retried.

        It is ``error``, or one of the errors from which it was raised explicitly. ``give_up_on`` comes first, and then
        ``NonRetryable``. With ``retry_on``, only its classes are retried; without, all others are. An end that another
        execution caused is always retried. Runs no code of the author, whose classes may have a metaclass.
        """
        if type(error) is EventLoopBlocked:
            return error, True
        chain = list(_chain(error))
        for classes in (self.give_up_on, (NonRetryable,)):
            for cause in chain:
                if _is_one_of(cause, classes):
                    return cause, False
        return error, not self.retry_on or any(_is_one_of(cause, self.retry_on) for cause in chain)


NO_POLICY: Final = StepPolicy()
"""The policy of a step that declares nothing."""


def _names(classes: Iterable[type[BaseException]]) -> list[str]:
    return [f"{cls.__module__}.{cls.__qualname__}".removeprefix("builtins.") for cls in classes]


def _is_one_of(error: BaseException, classes: tuple[type[BaseException], ...]) -> bool:
    return any(cls in classes for cls in type.mro(type(error)))


def _chain(error: BaseException | None) -> Iterable[BaseException]:
    visited: set[int] = set()
    while error is not None and id(error) not in visited:
        yield error
        visited.add(id(error))
        error = error.__cause__


def checked(step: str, options: Mapping[str, Any]) -> StepPolicy:
    """Return the policy that the options of a step declare. Options with the value None are not declared.

    Raises ``DefinitionError`` INVALID_STEP_POLICY with all mistakes.
    """
    declared = {name: value for name, value in options.items() if value is not None}
    if not declared:
        return NO_POLICY
    problems: list[str] = []
    values: dict[str, Any] = {}
    for name, value in declared.items():
        if name in ("retry_on", "give_up_on"):
            values[name] = _exceptions(name, value, problems)
        elif name == "jitter":
            values[name] = value
            if not isinstance(value, bool):
                problems.append(f"jitter={value!r} is neither True nor False")
        else:
            values[name] = _number(name, value, problems)
    if not problems and values.get("delay", 0) > values.get("max_delay", math.inf):
        problems.append(
            f"delay={declared['delay']!r} is longer than max_delay={declared['max_delay']!r}; exchange them"
        )
    if problems:
        raise DefinitionError("INVALID_STEP_POLICY", f'step "{step}": {"; ".join(problems)}')
    return StepPolicy(**values)


def _number(name: str, value: Any, problems: list[str]) -> Any:
    from wire.documents.step_policy import NUMBERS  # most pipelines, and so most workers, do not need it

    bounds = NUMBERS[_MEMBERS[name]]
    is_time = _MEMBERS[name].endswith("Seconds")
    number = value.total_seconds() if is_time and isinstance(value, timedelta) else value
    if bounds.problem(number):
        kind = "a whole number" if bounds.is_whole else "seconds or a timedelta" if is_time else "a number"
        problems.append(f"{name}={value!r} is wrong; give {kind} from {bounds.least:g} to {bounds.most:.10g}")
    return number


def _exceptions(name: str, value: Any, problems: list[str]) -> tuple[type[BaseException], ...]:
    classes = value if isinstance(value, tuple) else (value,)
    wrong = [cls for cls in classes if not isinstance(cls, type) or not issubclass(cls, BaseException)]
    if wrong or not 0 < len(classes) <= _MOST_CLASSES:
        problem = f"has {wrong[0]!r}, which is no exception class" if wrong else f"has {len(classes)} classes"
        problems.append(f"{name} {problem}; give 1 to {_MOST_CLASSES}, such as {name}=(ConnectionError, TimeoutError)")
    return classes
