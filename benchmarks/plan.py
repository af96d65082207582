"""How a run is to be made, from its command line."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """`rounds` of about `seconds` each, of the product and of its peers in turn; `peers`: whether they take part.

    `rows` is how many finished executions the large database of the part `growth` has.
    """

    rounds: int = 3
    seconds: float = 8.0
    peers: bool = True
    rows: int = 10_000_000
