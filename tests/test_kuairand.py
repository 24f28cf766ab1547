"""The main job on a real log, by the card that ships: quality, calibration and the shape of what it writes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import recsys
from recsys.schema import Predictions
from recsys_cli.app import main

ROOT = Path(__file__).parents[1]
LOG = Path(os.environ.get("RECSYS_SHARED", ROOT / "../shared")) / "data/kuairand_pure/events.parquet"
pytestmark = pytest.mark.skipif(not LOG.exists(), reason="needs the shared KuaiRand log (RECSYS_SHARED)")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kuairand") / "out"
    card = ROOT / "data/cards/kuairand-pure"
    with pytest.raises(SystemExit) as stop:
        main(["run", "-c", str(card), "--events", str(LOG), "-o", str(folder), "-q"])
    assert not stop.value.code
    return folder


@pytest.fixture(scope="module")
def metrics(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "evaluation/evaluation.json").read_text())
    return found["metrics"]


def test_probabilities_are_as_sharp_as_promised(metrics: dict[str, Any]) -> None:
    assert metrics["normalized_entropy"]["value"] <= 0.72
    assert metrics["auc"]["value"] >= 0.875
    assert metrics["gauc"]["value"] >= 0.66


def test_probabilities_are_calibrated(metrics: dict[str, Any]) -> None:
    assert not metrics["calibration"]["above_null_band"]
    assert metrics["bias"]["low"] < 0 < metrics["bias"]["high"]


def test_predictions_cover_every_user_and_nothing_seen(out: Path) -> None:
    log = pl.read_parquet(LOG, columns=["user_id", "video_id"]).rename({"video_id": "item_id"})
    found = recsys.read_predictions(out)
    Predictions.validate(found)
    assert found["user_id"].unique().sort().equals(log["user_id"].unique().sort())
    assert (found.group_by("user_id").len()["len"] == 20).all()
    assert found.join(log.unique(), on=["user_id", "item_id"], how="semi").is_empty()
    assert found.schema["user_id"] == log.schema["user_id"]
    assert found["will_like"].is_between(0, 1, closed="none").all()
    assert found.equals(found.sort("user_id", "rank"))
