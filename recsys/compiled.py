"""Functions -> machine code, kept for the next process; numba is imported where the first one is compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function that lets other threads run.

    Parameters
    ----------
    **options
        Of `numba.njit`.

    Returns
    -------
    callable
        A decorator. The machine code is kept beside the function's file or in the user's cache; where neither can
        be written, each process compiles anew.

    """

    def compile_one(function: Callable[..., Any]) -> Any:
        from numba import njit

        try:
            return njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:
            return njit(nogil=True, **options)(function)

    return compile_one
