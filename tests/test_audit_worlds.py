"""The verdict in worlds whose truth is known: a small version of `tests/benchmarks/audit_coverage.py`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

_HOME = Path(__file__).parent / "benchmarks" / "audit_coverage.py"


@pytest.fixture(scope="module")
def tried() -> dict[str, list[dict[str, Any]]]:
    spec = importlib.util.spec_from_file_location("coverage_of_the_audit", _HOME)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return {
        world: [module.try_once(world, seed) for seed in seeds]
        for world, seeds in {"null": (0, 1), "habit": (0,), "crowd": (0,), "large": (0,)}.items()
    }


def test_where_presses_carry_nothing_the_lift_is_within_its_noise(
    tried: dict[str, list[dict[str, Any]]],
) -> None:
    for world in ("null", "habit", "crowd"):
        for one in tried[world]:
            for name in ("lift", "taste"):
                figure = one["long_view"][name]
                assert abs(figure["value"]) < 4 * figure["standard_error"]
                assert abs(figure["value"] - figure["true_rows"]) < 4 * figure["standard_error"]


def test_a_strong_press_adds_and_the_interval_knows_how_much(tried: dict[str, list[dict[str, Any]]]) -> None:
    (large,) = tried["large"]
    lift = large["long_view"]["lift"]
    assert lift["lower"] > 0
    assert lift["value"] == pytest.approx(lift["true_rows"], abs=4 * lift["standard_error"])
    assert large["long_view"]["taste"]["lower"] > 0


def test_habit_is_not_taken_for_taste(tried: dict[str, list[dict[str, Any]]]) -> None:
    """Likes foretell likes, naively by several points; the pieces say that it is how often users press."""
    likes = tried["habit"][0]["liked"]
    naive = likes["habit"]["value"] + likes["crowd"]["value"] + likes["taste"]["value"]
    assert naive > 0.05
    assert likes["habit"]["value"] > 0.9 * naive
    assert likes["taste"]["lower"] < 0.005


def test_the_crowd_is_told_from_taste(tried: dict[str, list[dict[str, Any]]]) -> None:
    likes = tried["crowd"][0]["liked"]
    assert likes["crowd"]["value"] > 2 * likes["crowd"]["standard_error"]
    assert likes["crowd"]["value"] > 3 * abs(likes["taste"]["value"])
