"""Work on long columns a piece at a time: pieces fit the cache, and threads share them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import polars as pl

_ROWS = 1 << 14
_Result = TypeVar("_Result")


def map_parts(rows: int, work: Callable[[slice], _Result]) -> list[_Result]:
    """Call `work` on slices that cover the rows, in as many threads as Polars has.

    Parameters
    ----------
    rows : int
    work : callable of slice
        Its result for a row must not depend on other rows.

    Returns
    -------
    list
        One result a slice, in order; at least one. The slices do not depend on the number of threads.
    """
    parts = [slice(start, min(start + _ROWS, rows)) for start in range(0, max(rows, 1), _ROWS)]
    threads = min(len(parts), pl.thread_pool_size())
    if threads == 1:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, parts))
