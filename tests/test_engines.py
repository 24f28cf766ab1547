"""The local engine: the contract, and what holds for it alone."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from engines import SETTINGS, EngineContract, fit
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys.engines import LocalEngine, engine_for


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
