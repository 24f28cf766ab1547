"""The engine spark, small: what it fits, what it reads, and what it says where it cannot start."""

from __future__ import annotations

from typing import ClassVar

import pytest
from engines import SETTINGS, EngineContract

pyspark = pytest.importorskip("pyspark", reason="needs the extra spark")

from pyspark.sql import SparkSession  # noqa: E402

from recsys.engines import engine_for  # noqa: E402
from recsys.engines.spark import SparkEngine  # noqa: E402


class TestSparkEngine(EngineContract):
    counted = True
    ridges: ClassVar = {"weak": 0.05, "strong": 2.0}
    # The order of a shuffle shows in the last digits.
    rounding = 1e-4

    @pytest.fixture
    def engine(self, spark: SparkSession) -> SparkEngine:
        return SparkEngine()


def test_settings_choose_the_engine() -> None:
    assert engine_for(SETTINGS.model_copy(update={"engine": "spark"}), threads=2) == SparkEngine(2)
