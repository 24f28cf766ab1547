"""The local engine: the contract, and what holds for it alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from engines import SETTINGS, EngineContract, fit
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys.config import ModelSettings, build_settings
from recsys.engines import LocalEngine, check_java, engine_for, find_java
from recsys.errors import ConfigError


class TestLocalEngine(EngineContract):
    @pytest.fixture
    def engine(self) -> LocalEngine:
        return LocalEngine(threads=1)

    @pytest.mark.parametrize("blas", [1, 2])
    @pytest.mark.parametrize("threads", [0, 1, 2])
    def test_threads_change_no_byte(self, engine: LocalEngine, threads: int, blas: int) -> None:
        weights = np.random.default_rng(1).random((400, 200), np.float32)
        matrix = csr_matrix(np.where(weights < 0.05, weights, np.float32(0)))
        expected = fit(engine, matrix, factors=17)
        with threadpool_limits(blas, user_api="blas"):
            found = fit(LocalEngine(threads), matrix, factors=17)
        assert found.user_factors.tobytes() == expected.user_factors.tobytes()
        assert found.item_factors.tobytes() == expected.item_factors.tobytes()


def test_settings_choose_the_engine() -> None:
    assert engine_for(SETTINGS, threads=2) == LocalEngine(2)


def test_first_fit_of_a_process_already_holds_blas_to_one_thread() -> None:
    # implicit warns when it does not; BLAS is loaded by the first import that needs it.
    script = """
from scipy.sparse import csr_matrix
from recsys.config import ModelSettings
from recsys.engines import LocalEngine
LocalEngine().fit(csr_matrix([[1, 0], [0, 1]], dtype="f4"), ModelSettings(factors=2), 0)
"""
    environ = {**os.environ, "OPENBLAS_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def make_java(home: Path, version: str) -> Path:
    (home / "bin").mkdir(parents=True)
    (home / "bin/java").write_text("#!/bin/sh\n")
    (home / "bin/java").chmod(0o755)
    (home / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n')
    return home


@pytest.mark.parametrize(("version", "major"), [("1.8.0_402", 8), ("11.0.2", 11), ("17", 17), ("21.0.1", 21)])
def test_a_java_that_is_too_old_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, major: int
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(make_java(tmp_path / "jdk", version)))
    found = find_java()
    assert found == (tmp_path / "jdk/bin/java", major)
    if major >= 17:
        check_java()
    else:
        with pytest.raises(ConfigError, match=rf"newer Java than .*java, which is {major}: install Java 17"):
            check_java()


def test_java_is_found_on_the_path_or_its_absence_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ConfigError, match=r"^model.engine = .spark. needs Java, and there is none: install Java"
    ):
        check_java()
    (tmp_path / "java").symlink_to(make_java(tmp_path / "jdk", "17.0.15") / "bin/java")
    assert find_java() == (tmp_path / "java", 17)


def test_a_java_home_without_java_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(make_java(tmp_path / "jdk", "17.0.15") / "bin"))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert find_java() is None
    with pytest.raises(
        ConfigError, match=f"JAVA_HOME is '{tmp_path}', where there is no program bin/java: i"
    ):
        check_java()


def test_without_the_extra_the_engine_spark_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [
        name for name in sys.modules if name.startswith(("recsys.engines._spark", "recsys.engines.spark"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyspark", None)
    with pytest.raises(ConfigError, match=r"needs pyspark, .* pip install 'recsys\[spark\]'$"):
        engine_for(ModelSettings(engine="spark"))


def test_spark_has_its_own_default_penalty_and_starts_afresh() -> None:
    assert ModelSettings(engine="spark").regularization > ModelSettings().regularization
    assert ModelSettings(engine="spark", regularization=0.05).regularization == 0.05
    with pytest.raises(ConfigError, match="warm_start needs engine"):
        build_settings({"model": {"engine": "spark", "warm_start": True}})


def test_options_of_spark_may_be_written_as_numbers() -> None:
    options = {"spark.sql.shuffle.partitions": 8, "spark.executor.memory": "8g"}
    found = build_settings({"spark": {"master": "yarn", "options": options}}).spark
    assert found.options == {"spark.sql.shuffle.partitions": "8", "spark.executor.memory": "8g"}
