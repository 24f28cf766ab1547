"""Worlds with known truth: a source of events, beside files and databases.

A world is a handful of knobs and a seed. It yields an exposure log like any other, and beside it what no
real log can say: the probability of every like before the exposure, and given how long the item was
watched.
"""

from recsys.simulation._files import write_simulation
from recsys.simulation._simulate import EVENTS_SCHEMA, Simulation, simulate, true_probabilities
from recsys.simulation._world import PRESETS, World

__all__ = [
    "EVENTS_SCHEMA",
    "PRESETS",
    "Simulation",
    "World",
    "simulate",
    "true_probabilities",
    "write_simulation",
]
