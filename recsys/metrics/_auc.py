"""How often a liked row is scored above one that was not: over all rows, and within users."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.metrics._checks import (
    BoolArray,
    FloatArray,
    IntArray,
    as_codes,
    as_finite,
    as_liked,
    require_same_rows,
)


@dataclass(frozen=True)
class UserAucs:
    """The AUC of every user who has both labels.

    Attributes
    ----------
    users : numpy.ndarray of int64, shape (kept users,)
        Codes, ascending.
    auc : numpy.ndarray of float64, shape (kept users,)
        In [0, 1]; higher is better; 0.5 is a coin.
    exposures : numpy.ndarray of int64, shape (kept users,)
        Rows of each user.
    share_of_rows : float
        Rows of the kept users over all rows, in [0, 1]. What the averages say nothing about is the rest.
    """

    users: IntArray
    auc: FloatArray
    exposures: IntArray
    share_of_rows: float


def user_aucs(users: npt.ArrayLike, liked: npt.ArrayLike, scores: npt.ArrayLike) -> UserAucs:
    """Rank the rows of each user against that user's own rows.

    Parameters
    ----------
    users : array_like of int, shape (n,)
        Codes, not necessarily dense.
    liked : array_like of bool or 0/1, shape (n,)
    scores : array_like of float, shape (n,)
        Any finite numbers that rise with the chance of a like.

    Returns
    -------
    UserAucs
        Users without both labels are left out.

    Raises
    ------
    UsageError
        When lengths differ, no row is given, or a value is not a code, a label or a finite number.

    Notes
    -----
    ``AUC = (R - n1 (n1 + 1) / 2) / (n1 n0)``, with R the sum of the ranks of the n1 liked rows among the
    user's rows, from 1, ties averaged. Twice the ranks are whole numbers, so that nothing is rounded
    before the last division.

    References
    ----------
    Zhou, G. et al. (2018). Deep interest network for click-through rate prediction. KDD.
    https://doi.org/10.1145/3219819.3219823

    Examples
    --------
    >>> found = user_aucs([7, 7, 7, 9, 9], [1, 0, 0, 0, 0], [0.5, 0.5, 0.1, 0.2, 0.3])
    >>> found.users.tolist(), found.auc.tolist(), found.share_of_rows
    ([7], [0.75], 0.6)
    """
    codes, labels, values = as_codes("users", users), as_liked(liked), as_finite("scores", scores)
    require_same_rows(users=codes, liked=labels, scores=values)
    order = np.lexsort((values, codes))
    return _aucs_of_sorted(codes[order], labels[order], values[order])


def _aucs_of_sorted(codes: IntArray, labels: BoolArray, values: FloatArray) -> UserAucs:
    starts = _first_rows(codes)
    rows = np.diff(starts, append=codes.size)
    likes = np.add.reduceat(labels, starts, dtype=np.int64)
    twice_ranks = _twice_ranks(codes, values) - 2 * np.repeat(starts, rows)
    wins = np.add.reduceat(twice_ranks * labels, starts) - likes * (likes + 1)
    kept = (likes > 0) & (likes < rows)
    auc = wins[kept] / (2 * likes * (rows - likes))[kept]
    return UserAucs(codes[starts][kept], auc, rows[kept], float(rows[kept].sum() / codes.size))


def _first_rows(*sorted_columns: npt.NDArray[np.generic]) -> IntArray:
    changes = np.any([column[1:] != column[:-1] for column in sorted_columns], axis=0)
    return np.flatnonzero(np.append(True, changes))


def _twice_ranks(codes: IntArray, values: FloatArray) -> IntArray:
    # A tie of rows first .. end - 1 shares the rank (first + 1 + end) / 2.
    first = _first_rows(codes, values)
    end = np.append(first[1:], codes.size)
    return np.repeat(first + end + 1, end - first)


def auc(liked: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Find how often a liked row is scored above one that was not, over all pairs of rows.

    At a low like rate this mostly ranks users: read it beside `gauc`.

    Parameters
    ----------
    liked : array_like of bool or 0/1, shape (n,)
    scores : array_like of float, shape (n,)
        Any finite numbers that rise with the chance of a like.

    Returns
    -------
    float
        In [0, 1]; higher is better; 0.5 is a coin. NaN when all rows, or none, were liked.

    Raises
    ------
    UsageError
        As `user_aucs`.

    Notes
    -----
    ``P(s_liked > s_other) + P(s_liked = s_other) / 2``: ties count one half.

    References
    ----------
    Hanley, J. A., McNeil, B. J. (1982). The meaning and use of the area under a ROC curve. Radiology 143.

    Examples
    --------
    >>> auc([1, 0, 0], [0.5, 0.5, 0.1])
    0.75
    """
    labels, values = as_liked(liked), as_finite("scores", scores)
    require_same_rows(liked=labels, scores=values)
    one_user = user_aucs(np.zeros(labels.size, dtype=np.int64), labels, values)
    return float(one_user.auc[0]) if one_user.auc.size else float("nan")


def gauc(aucs: UserAucs) -> float:
    """Average the users' AUCs, each weighted by its exposures.

    Parameters
    ----------
    aucs : UserAucs

    Returns
    -------
    float
        In [0, 1]; higher is better; 0.5 is a coin. NaN when no user has both labels. Print it with
        `aucs.share_of_rows`.

    Notes
    -----
    ``sum_u n_u AUC_u / sum_u n_u`` over the users with both labels.

    References
    ----------
    Zhou, G. et al. (2018). Deep interest network for click-through rate prediction. KDD.
    https://doi.org/10.1145/3219819.3219823

    Examples
    --------
    >>> gauc(user_aucs([1, 1, 1, 2, 2], [1, 0, 0, 1, 0], [0.9, 0.2, 0.1, 0.3, 0.4]))
    0.6
    """
    exposures = aucs.exposures.sum()
    return float((aucs.exposures * aucs.auc).sum() / exposures) if exposures else float("nan")


def uauc(aucs: UserAucs) -> float:
    """Average the users' AUCs, every user counting once.

    Parameters
    ----------
    aucs : UserAucs

    Returns
    -------
    float
        In [0, 1]; higher is better; 0.5 is a coin. NaN when no user has both labels.

    Notes
    -----
    ``mean_u AUC_u`` over the users with both labels.

    Examples
    --------
    >>> uauc(user_aucs([1, 1, 1, 2, 2], [1, 0, 0, 1, 0], [0.9, 0.2, 0.1, 0.3, 0.4]))
    0.5
    """
    return float(aucs.auc.mean()) if aucs.auc.size else float("nan")
