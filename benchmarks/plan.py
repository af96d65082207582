"""The parameters of a run, from its command line."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """`rounds` rounds of about `seconds` each, of the product and its peers in turn. `peers` is False without peers.

    `rows` is the number of executions in the large database of the part `growth`, and at most of `pages`.
    """

    rounds: int = 3
    seconds: float = 8.0
    peers: bool = True
    rows: int = 2_000_000
