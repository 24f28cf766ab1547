"""Work on long columns a piece at a time: pieces fit the cache, and threads share them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import polars as pl

_ROWS = 1 << 14


def for_each_part(rows: int, work: Callable[[slice], None]) -> None:
    """Call `work` on slices that cover the rows.

    The slices do not depend on the number of threads, which is that of Polars.

    Parameters
    ----------
    rows : int
    work : callable
        Fills its slice of arrays that already exist. Its result for a row must not depend on other rows.
    """
    parts = [slice(start, min(start + _ROWS, rows)) for start in range(0, rows, _ROWS)]
    if len(parts) <= 1 or pl.thread_pool_size() == 1:
        for part in parts:
            work(part)
        return
    with ThreadPoolExecutor(pl.thread_pool_size()) as pool:
        for _ in pool.map(work, parts):
            pass
