"""Ids and matrices against plain dictionaries."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

from recsys.errors import DataError
from recsys.matrix import IdIndex, confidences, interactions, median_positive, one_blas_thread, strengths

LAW = settings(max_examples=50, deadline=None, derandomize=True)
IDS = {
    pl.Int64: st.integers(-(2**63), 2**63 - 1),
    pl.UInt64: st.integers(0, 2**64 - 1),
    pl.Int16: st.integers(-(2**15), 2**15 - 1),
    pl.String: st.text(max_size=5),
}


class TestIdIndex:
    @LAW
    @given(data=st.data(), dtype=st.sampled_from(list(IDS)))
    def test_round_trip(self, data: st.DataObject, dtype: Any) -> None:
        values = pl.Series("id", data.draw(st.lists(st.none() | IDS[dtype], max_size=30)), dtype=dtype)
        index = IdIndex.of(values)
        codes = index.codes(values)
        assert codes.dtype == np.int32
        assert [index.ids[code] if code >= 0 else None for code in codes.tolist()] == values.to_list()
        assert index.ids.to_list() == sorted(set(values.drop_nulls()))
        assert (index.ids.dtype, len(index)) == (dtype, values.drop_nulls().n_unique())

    @pytest.mark.parametrize("ids", [[1, 2, 2**63 - 1], ["a", "ä", "東京", "🎈", ""]])
    def test_unseen_and_null_are_minus_one(self, ids: list[Any]) -> None:
        index = IdIndex.of(pl.Series(ids[:-1]))
        assert index.codes(pl.Series([None, ids[-1], ids[0], None])).tolist()[::3] == [-1, -1]
        assert index.codes(pl.Series([ids[-1]])).tolist() == [-1]
        assert index.codes(pl.Series([None, None])).tolist() == [-1, -1]

    @pytest.mark.parametrize(("held", "asked"), [(pl.Int8, 300), (pl.UInt64, -1), (pl.Int64, 2**64 - 1)])
    def test_id_that_does_not_fit_the_type_is_unseen(self, held: Any, asked: int) -> None:
        index = IdIndex.of(pl.Series([1, 2, 3], dtype=held))
        codes = index.codes(pl.Series([asked], dtype=pl.UInt64 if asked > 0 else pl.Int64))
        assert codes.tolist() == [-1]

    @pytest.mark.parametrize(("asked", "code"), [(pl.Int8, 1), (pl.UInt64, 1), (pl.Int32, 1)])
    def test_width_of_an_integer_does_not_matter(self, asked: Any, code: int) -> None:
        assert IdIndex.of(pl.Series([5, 7])).codes(pl.Series([7], dtype=asked)).tolist() == [code]

    @pytest.mark.parametrize(("held", "asked"), [([1, 2], ["1"]), (["1", "2"], [1]), ([1], [1.0])])
    def test_integers_are_never_compared_with_strings(self, held: list[Any], asked: list[Any]) -> None:
        with pytest.raises(DataError, match=r"user_id is .* here and .* in the log"):
            IdIndex.of(pl.Series(held)).codes(pl.Series("user_id", asked))

    @LAW
    @given(st.lists(st.integers(0, 9)), st.lists(st.integers(-1, 11)))
    def test_narrowed_is_the_index_of_what_occurs(self, ids: list[int], asked: list[int]) -> None:
        values, index = pl.Series(asked, dtype=pl.Int64), IdIndex.of(pl.Series(ids, dtype=pl.Int64))
        narrowed, codes = index.narrow(index.codes(values))
        assert narrowed.ids.to_list() == sorted(set(ids) & set(asked))
        assert codes.tolist() == narrowed.codes(values).tolist()
        assert codes.dtype == np.int32


class TestStrengths:
    @LAW
    @given(st.lists(st.sampled_from([0.0, float("nan")]) | st.floats(1e-3, 1e6), max_size=30))
    def test_is_the_share_of_the_median_positive_up_to_ten(self, values: list[float]) -> None:
        positive = sorted(value for value in values if value > 0)
        middle = len(positive) // 2
        median = (positive[middle] + positive[~middle]) / 2 if positive else 1.0
        expected = [min(value / median, 10.0) if value == value else value for value in values]
        assert median_positive(np.array(values, float)) == pytest.approx(median)
        np.testing.assert_allclose(strengths(np.array(values, float)), expected, rtol=1e-6)

    def test_flag_keeps_its_values(self) -> None:
        assert strengths(np.array([0.0, 1.0, 1.0])).tolist() == [0.0, 1.0, 1.0]


class TestInteractions:
    @LAW
    @given(
        st.lists(
            st.tuples(
                st.integers(0, 4), st.integers(0, 3), st.sampled_from([0.0, 0.25, 1.0, 3.5, float("nan")])
            ),
            max_size=40,
        )
    )
    def test_sums_what_is_known_and_positive(self, rows: list[tuple[int, int, float]]) -> None:
        expected: dict[tuple[int, int], float] = defaultdict(float)
        for user, item, strength in rows:
            if strength > 0:
                expected[user, item] += strength
        users, items, strength = (np.array([row[column] for row in rows]) for column in range(3))
        matrix = interactions(
            users.astype(np.int32), items.astype(np.int32), strength.astype(np.float32), (6, 4)
        )
        entries = matrix.tocoo()
        found = dict(zip(zip(entries.row, entries.col, strict=True), entries.data, strict=True))
        assert found == expected
        assert (matrix.shape, matrix.nnz) == ((6, 4), len(expected))

    def test_is_what_implicit_needs(self) -> None:
        rng = np.random.default_rng(0)
        users, items = rng.integers(0, 50, 999, np.int32), rng.integers(0, 40, 999, np.int32)
        matrix = interactions(users, items, rng.random(999, np.float32), (50, 40))
        for found in (matrix, confidences(matrix, 10.0)):
            assert (found.dtype, found.indices.dtype, found.indptr.dtype) == (np.float32, np.int32, np.int32)
            assert found.format == "csr"
            assert found.has_sorted_indices
            assert found.has_canonical_format

    def test_confidence_is_one_plus_alpha_r(self) -> None:
        codes = np.arange(3, dtype=np.int32)
        matrix = interactions(codes, codes, np.array([1.0, 0.5, 2.0], np.float32), (3, 3))
        assert confidences(matrix, 10.0).toarray().diagonal().tolist() == [11.0, 6.0, 21.0]
        assert matrix.data.tolist() == [1.0, 0.5, 2.0]


def test_blas_is_held_to_one_thread_and_let_go() -> None:
    def threads() -> list[int]:
        return [api["num_threads"] for api in threadpool_info() if api["user_api"] == "blas"]

    before = threads()
    with one_blas_thread():
        assert set(threads()) <= {1}
    assert threads() == before
