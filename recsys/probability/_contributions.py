"""What each feature adds to the log-odds of a head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Contributions:
    """Log-odds as a sum.

    Attributes
    ----------
    base : float
        What the head says when it knows nothing of the pair.
    parts : ndarray of float64, shape (n, d)
        ``base + parts.sum(axis=1)`` are the head's log-odds.

    """

    base: float
    parts: NDArray[np.float64]
