"""The interval of a share that was counted."""

from __future__ import annotations

import math
from statistics import NormalDist


def wilson(count: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Return the interval of a share of which `count` of `total` independent trials were seen; (0, 1) without a trial.

    Source: Wilson 1927, Journal of the American Statistical Association 22, pages 209 to 212.
    """
    if not total:
        return 0.0, 1.0
    z, share = NormalDist().inv_cdf((1 + level) / 2), count / total
    spread = 1 + z * z / total
    middle = (share + z * z / (2 * total)) / spread
    half = z / spread * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(0.0, middle - half), min(1.0, middle + half)
