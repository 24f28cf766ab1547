"""Arms, and how far a trial of them is."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field

_log = logging.getLogger("recsys")


@dataclass(frozen=True)
class Arm:
    """Likes of one kind, seen from one start.

    Attributes
    ----------
    kind : str
        `real`, a placebo, `planted`, or a point of a curve.
    draw : int
        Of its kind, counted from 0.
    seed : int
        The start of the factorisations, counted from 0.

    """

    kind: str
    draw: int
    seed: int

    @property
    def name(self) -> str:
        """Unique in a trial."""
        return f"{self.kind}-{self.draw}"


@dataclass
class Progress:
    """Says which arm is done, and how long the rest will take.

    Attributes
    ----------
    arms, kept : int
        In all, and taken from the shelf.

    """

    arms: int
    kept: int
    done: int = 0
    began: float = field(default_factory=time.perf_counter)

    def tell(self, arm: Arm) -> None:
        """Count one arm more."""
        self.done += 1
        at = self.kept + self.done
        left = (self.arms - at) * (time.perf_counter() - self.began) / self.done
        _log.info(
            "arm %d of %d: %s likes, seed or draw %d; about %.0f s left",
            *(at, self.arms, arm.kind.replace("_", " and "), arm.draw, left),
            extra={
                "event": "arm_finished",
                "arm": arm.name,
                "finished": at,
                "arms": self.arms,
                "seconds_left": left,
            },
        )
