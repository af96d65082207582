"""The two tests that compare a candidate with its baseline. Pure.

Both are one-sided: the alternative is that the candidate is worse. Neither assumes a distribution of the values.
"""

import math
from collections import Counter
from collections.abc import Sequence


def fisher_exact(failed: int, ended: int, baseline_failed: int, baseline_ended: int) -> float:
    """Return the probability of at least `failed` failures among `ended` executions, if both failure rates are equal.

    The totals of the 2 x 2 table are fixed, so the number of failures is hypergeometric (Fisher 1922; NIST/SEMATECH
    e-Handbook, 7.3.3). The sum is exact.
    """
    failures, total = failed + baseline_failed, ended + baseline_ended
    worse = range(failed, min(failures, ended) + 1)
    ways = sum(math.comb(failures, each) * math.comb(total - failures, ended - each) for each in worse)
    return ways / math.comb(total, ended)


def mann_whitney(sample: Sequence[float], baseline: Sequence[float]) -> float:
    """Return the probability of a rank sum of `sample` that is at least as large, if both distributions are equal.

    U counts the pairs in which the value of `sample` is the greater one; ties count one half. It is compared with the
    normal distribution, with the corrections for ties and for continuity (Mann and Whitney 1947; NIST/SEMATECH
    e-Handbook, 7.3.5). This is accurate if both have 20 values or more.
    """
    first, second = len(sample), len(baseline)
    total = first + second
    u, ties = greater_pairs(sample, baseline)
    variance = first * second / 12 * (total + 1 - ties / (total * (total - 1))) if total > 1 else 0.0
    if variance <= 0:
        return 1.0  # all values are equal
    z = (u - first * second / 2 - 0.5) / math.sqrt(variance)
    return math.erfc(z / math.sqrt(2)) / 2


def greater_pairs(sample: Sequence[float], baseline: Sequence[float]) -> tuple[float, int]:
    """Return U of `sample`, and the sum of t³ - t over all groups of t equal values."""
    counts, others = Counter(sample), Counter(baseline)
    u, below, ties = 0.0, 0, 0
    for value in sorted(counts.keys() | others.keys()):
        here, there = counts[value], others[value]
        u += here * (below + there / 2)
        below += there
        ties += (here + there) ** 3 - (here + there)
    return u, ties
