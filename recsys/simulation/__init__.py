"""Worlds with known truth: a source of events, beside files and databases.

A world is a handful of knobs and a seed. It yields an exposure log like any other, and beside it what no
real log can say: the probability of every like before the exposure, and given how long the item was
watched. The log is drawn one refresh of the feed after another, so that it never has to fit in memory.

Names are imported when they are first used: the command line lists the knobs without loading NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recsys.simulation._draw import EVENTS_SCHEMA, TRUTH_SCHEMA
    from recsys.simulation._files import read_truth, write_simulation
    from recsys.simulation._knobs import Knob
    from recsys.simulation._simulate import Simulation, simulate
    from recsys.simulation._truth import Truth
    from recsys.simulation._world import PRESETS, World

_HOMES = {
    "PRESETS": "_world",
    "World": "_world",
    "Knob": "_knobs",
    "EVENTS_SCHEMA": "_draw",
    "TRUTH_SCHEMA": "_draw",
    "Truth": "_truth",
    "Simulation": "_simulate",
    "simulate": "_simulate",
    "write_simulation": "_files",
    "read_truth": "_files",
}

__all__ = [  # noqa: RUF022 (the order of the data)
    "PRESETS",
    "World",
    "Knob",
    "EVENTS_SCHEMA",
    "TRUTH_SCHEMA",
    "Truth",
    "Simulation",
    "simulate",
    "write_simulation",
    "read_truth",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'recsys.simulation' has no attribute {name!r}")
    return getattr(importlib.import_module(f"recsys.simulation.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
