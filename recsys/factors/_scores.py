"""What the score of a pair is, to the bit, and how far a matrix product may be from it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_CHUNK = 65_536
_ROUNDING = 2.0**-24
_SMALLEST = 2.0**-126


def width_of_terms(factors: int) -> int:
    """Give the power of two, at least 8, that holds a term a factor."""
    return max(8, 1 << (factors - 1).bit_length())


def pair_scores(
    users: NDArray[np.float32],
    items: NDArray[np.float32],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Score pairs, each the same to the bit on every machine and among whatever other pairs.

    Parameters
    ----------
    users, items : ndarray of float32, shapes (n_users, factors) and (n_items, factors)
    rows, columns : ndarray of int64, shape (n,)
        Places in them.

    Returns
    -------
    ndarray of float32, shape (n,)

    Notes
    -----
    Products in double precision, padded with zeros to `width_of_terms`, are added by halves, the first of
    one half to the first of the other, until one is left, and rounded once. A matrix product adds in an
    order of its own for every shape and machine.

    """
    scores = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _CHUNK):
        part = slice(start, start + _CHUNK)
        scores[part] = _add_by_halves(users[rows[part]], items[columns[part]])
    return scores


def _add_by_halves(users: NDArray[np.float32], items: NDArray[np.float32]) -> NDArray[np.float64]:
    n, factors = users.shape
    terms = np.zeros((n, width_of_terms(factors)))
    np.multiply(users, items, out=terms[:, :factors], dtype=np.float64)
    while terms.shape[1] > 1:
        half = terms.shape[1] // 2
        terms = terms[:, :half] + terms[:, half:]
    return np.asarray(terms[:, 0])


def lengths_of(factors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Take the Euclidean norm of each row."""
    return np.asarray(np.sqrt(np.einsum("nf,nf->n", factors, factors, dtype=np.float64)))


def slacks_of(lengths: NDArray[np.float64], longest: float, factors: int) -> NDArray[np.float64]:
    """Bound how far below the n-th best product one of the n best scores may lie.

    Parameters
    ----------
    lengths : ndarray of float64, shape (n_users,)
    longest : float
        Length of the longest item.
    factors : int

    Returns
    -------
    ndarray of float64, shape (n_users,)

    Notes
    -----
    Added in any order, a product of f terms in single precision is within ``f u / (1 - f u) |x| |y|`` of the
    truth, u = 2^-24, and the score, rounded once, within ``u |x| |y|``. The slack is twice their sum.

    References
    ----------
    Higham (2002), Accuracy and Stability of Numerical Algorithms, section 3.1.

    """
    return np.asarray(2.02 * (factors + 2) * (_ROUNDING * longest * lengths + _SMALLEST))
