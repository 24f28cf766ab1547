"""The engine spark on workers that are processes of their own, one of which is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from recsys.engines import check_java
from recsys.errors import ConfigError
from recsys.schema import ITEM, LIKED, USER
from recsys.store import read_predictions, verify

pytest.importorskip("pyspark", reason="needs the extra spark")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, draw_frame: Callable[..., pl.DataFrame]) -> Path:
    try:
        check_java()
    except ConfigError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("cluster")
    rows = draw_frame(seed=2, rows=1500, users=60, items=30).select(USER, ITEM, "timestamp", LIKED)
    rows.write_parquet(folder / "log.parquet")
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, here / "spark_cluster.py", folder],
        env={**os.environ, "PYTHONPATH": str(here)},
        capture_output=True,
        text=True,
        check=False,
    )
    (folder / "said").write_text(done.stderr)
    return folder


def test_workers_hold_the_contract(folder: Path) -> None:
    held = folder / "held"
    assert held.exists(), (folder / "said").read_text()[-3000:]
    assert held.read_text() == "local-cluster[2,1,2048]"


def test_an_executor_that_is_killed_while_it_writes_costs_no_row(folder: Path) -> None:
    assert (folder / "rows").exists(), (folder / "said").read_text()[-3000:]
    assert (folder / "killed").read_text()
    assert not verify(folder / "out").damages
    assert not list((folder / "out").rglob("half.parquet"))
    found = read_predictions(folder / "out")
    assert set(found[USER]) == set(pl.read_parquet(folder / "log.parquet")[USER])
    assert int((folder / "rows").read_text()) == len(found.unique([USER, ITEM])) == len(found)
