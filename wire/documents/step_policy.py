"""What a step may declare about its retries and its time, and what the policy of a pipeline may change of it. Pure.

The declaration of a step is an object, in the member `steps` of the declarations under the step's authored name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from wire.documents.json_reader import quoted
from wire.retry import LONGEST_RETRY_DELAY, RetryPolicy

MOST_STEPS: Final = 1_000
MOST_CLASSES: Final = 100
MOST_PARALLEL: Final = 256
_LONGEST_NAME: Final = 500


@dataclass(frozen=True, slots=True)
class Bounds:
    """The smallest and the largest value of a number, and whether it is whole."""

    least: float
    most: float
    is_whole: bool = False

    def problem(self, value: Any) -> str:
        """Return what a value must be; an empty text if it is within the bounds."""
        is_number = isinstance(value, int if self.is_whole else int | float) and not isinstance(value, bool)
        if is_number and self.least <= value <= self.most:
            return ""
        return f"must be {'a whole number' if self.is_whole else 'a number'} from {self.least:g} to {self.most:.10g}"


NUMBERS: Final = {
    "retries": Bounds(0, 1000, is_whole=True),
    "delaySeconds": Bounds(0, LONGEST_RETRY_DELAY.total_seconds()),
    "multiplier": Bounds(1, 100),
    "maxDelaySeconds": Bounds(0, LONGEST_RETRY_DELAY.total_seconds()),
    "timeoutSeconds": Bounds(0.1, 604_800),
}


def _flag(value: Any) -> str:
    return "" if isinstance(value, bool) else "must be true or false"


def _on_item_failure(value: Any) -> str:
    return "" if value == "collect" else 'must be "collect"'


def _classes(value: Any) -> str:
    is_list = isinstance(value, list) and 0 < len(value) <= MOST_CLASSES
    if is_list and all(isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME for name in value):
        return ""
    return f"must be a list of 1 to {MOST_CLASSES} names of classes"


def _branches(value: Any) -> str:
    if not isinstance(value, dict) or not value:
        return "must be an object with the policies of branches"
    rules = {name: rule for name, rule in MEMBERS.items() if name in OF_BRANCHES}
    return "; ".join(wrong_steps(value, rules))


OF_BRANCHES: Final = frozenset({*NUMBERS, "jitter", "retryOn", "giveUpOn"})
"""The members that the policy of a branch may have."""
CHANGEABLE: Final[Mapping[str, Callable[[Any], str]]] = {
    **{name: bounds.problem for name, bounds in NUMBERS.items()},
    "jitter": _flag,
}
"""The rules of the members that the policy of a pipeline may change."""
MEMBERS: Final[Mapping[str, Callable[[Any], str]]] = {
    **CHANGEABLE,
    "retryOn": _classes,
    "giveUpOn": _classes,
    "parallel": Bounds(1, MOST_PARALLEL, is_whole=True).problem,
    "onItemFailure": _on_item_failure,
    "branches": _branches,
}
"""The rules of the members that a step declares. A rule returns what is wrong with a value, or an empty text."""


def wrong_steps(steps: Mapping[str, Any], rules: Mapping[str, Callable[[Any], str]] = MEMBERS) -> Iterator[str]:
    """Yield what is wrong with the policies of steps by their authored names. `rules` has those of the members."""
    if len(steps) > MOST_STEPS:
        yield f"steps names {len(steps)} steps; at most {MOST_STEPS} can be named"
        return
    for name, policy in steps.items():
        path = f"steps[{quoted(name)}]"
        if not isinstance(policy, Mapping) or not policy:
            yield f"{path} must be an object of {', '.join(rules)}"
            continue
        for member, value in policy.items():
            if member not in rules:
                yield f"{path} has no member {quoted(member)}; its members are {', '.join(rules)}"
            elif problem := rules[member](value):
                yield f"{path}.{member} {problem}"


def changed(
    declared: Mapping[str, Mapping[str, Any]], changes: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return the policies of steps as they count: what they declare, with what the policy of the pipeline changes."""
    return {name: {**declared.get(name, {}), **changes.get(name, {})} for name in declared.keys() | changes.keys()}


def retry_policy(policy: Mapping[str, Any], default: RetryPolicy) -> RetryPolicy:
    """Return the retry policy of a step: its members where it has them, and those of `default` otherwise."""
    delay, longest = policy.get("delaySeconds"), policy.get("maxDelaySeconds")
    jitter = policy.get("jitter")
    return replace(
        default,
        limit=policy.get("retries", default.limit),
        delay=default.delay if delay is None else timedelta(seconds=delay),
        multiplier=policy.get("multiplier", default.multiplier),
        cap=default.cap if longest is None else timedelta(seconds=longest),
        jitter=0 if jitter is False else default.jitter,
    )


def in_words(policy: Mapping[str, Any]) -> str:
    """Return a policy in words, such as `5 retries, delay 1 s, timeout 30 s`; an empty text if it has no members."""
    phrases = [template.format(policy[name]) for name, template in _WORDS.items() if name in policy]
    if "retries" in policy:
        phrases.insert(0, _retries(policy["retries"]))
    if "jitter" in policy:
        phrases.append("jitter" if policy["jitter"] else "no jitter")
    phrases += [f"{phrase} {', '.join(policy[name])}" for name, phrase in _CLASSES.items() if name in policy]
    phrases += [f"branch {name}: {in_words(branch)}" for name, branch in policy.get("branches", {}).items()]
    return ", ".join(phrases)


_WORDS: Final = {
    "delaySeconds": "delay {:g} s",
    "multiplier": "multiplier {:g}",
    "maxDelaySeconds": "longest delay {:g} s",
    "timeoutSeconds": "timeout {:g} s",
    "parallel": "{} items at a time",
    "onItemFailure": "on the failure of an item: {}",
}
_CLASSES: Final = {"retryOn": "retries only", "giveUpOn": "gives up on"}


def in_short(policy: Mapping[str, Any]) -> str:
    """Return the retries and the timeout of a policy in words, as far as it has them."""
    phrases = [_retries(policy["retries"])] if "retries" in policy else []
    return ", ".join([*phrases, *([f"{policy['timeoutSeconds']:g} s"] if "timeoutSeconds" in policy else [])])


def _retries(number: int) -> str:
    return "1 retry" if number == 1 else f"{number or 'no'} retries"
