"""For whom and on what past likes help: exploratory."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from recsys.audit._lift import Scored
from recsys.audit._result import PRIMARY_PLACEBO
from recsys.audit._rows import AuditRows
from recsys.audit._trial import REAL
from recsys.evaluation import Cut, cut_rows
from recsys.inference import clustered_standard_error, mark_discoveries, shrink_estimates
from recsys.schema import ITEM, USER

#: In segments of fewer users a clustered standard error is too small.
_FEWEST_USERS = 20
_TWO_SIDED_95 = float(ndtri(0.975))
_SCHEMA = {
    **dict.fromkeys(("kind", "segment"), pl.String),
    **dict.fromkeys(("exposures", "users"), pl.Int64),
    **dict.fromkeys(("lift", "low", "high", "shrunk", "p_value"), pl.Float64),
    "marked": pl.Boolean,
}


def lift_by_segment(rows: AuditRows, scored: Scored) -> pl.DataFrame:
    """Measure the lift of the primary outcome in every part of the scored rows.

    Parameters
    ----------
    rows : AuditRows
    scored : Scored
        Of the primary outcome, first head.

    Returns
    -------
    polars.DataFrame
        One row a `kind` and `segment`: `exposures`, `users`, `lift`, `low`, `high` (95 %, clustered by user, given the
        fitted models), `shrunk` to the mean of its kind, `p_value` (two-sided, of no lift) and `marked` (Benjamini and
        Hochberg at 10 % within the kind). All in shares of the entropy of all scored rows; null where fewer than 20
        users are in a segment.

    """
    losses = scored.losses
    gained = (losses[PRIMARY_PLACEBO].mean(axis=0) - losses[REAL].mean(axis=0)) / scored.entropy
    met = {name: rows.score[name].is_in(rows.known[name].unique().implode()) for name in (USER, ITEM)}
    cold = {name: ~one.to_numpy() for name, one in met.items()}
    cuts = cut_rows(rows.score, rows.known, cold)
    tables = [_lift_of_cut(kind, cut, scored, gained) for kind, cut in cuts.items()]
    return pl.concat([table for table in tables if len(table) > 1] or [pl.DataFrame(schema=_SCHEMA)])


def _lift_of_cut(kind: str, cut: Cut, scored: Scored, gained: NDArray[np.float64]) -> pl.DataFrame:
    codes = cut.codes[scored.known]
    present = np.unique(codes).tolist()
    inside = [codes == code for code in present]
    people = [len(np.unique(scored.users[one])) for one in inside]
    lift = np.array([gained[one].mean() for one in inside])
    error = np.array([clustered_standard_error(gained[one], scored.users[one]) for one in inside])
    error[np.array(people) < _FEWEST_USERS] = np.nan
    sure = np.isfinite(error) & (error > 0)
    shrunk = np.full(len(lift), np.nan)
    if sure.any():
        shrunk[sure] = shrink_estimates(lift[sure], error[sure] ** 2)
    p_values = np.full(len(lift), np.nan)
    p_values[sure] = 2 * ndtr(-np.abs(lift[sure] / error[sure]))
    columns = {
        "kind": [kind] * len(lift),
        "segment": [cut.names[code] for code in present],
        "exposures": [int(one.sum()) for one in inside],
        "users": people,
        "lift": lift,
        "low": lift - _TWO_SIDED_95 * error,
        "high": lift + _TWO_SIDED_95 * error,
        "shrunk": shrunk,
        "p_value": p_values,
        "marked": mark_discoveries(p_values),
    }
    return pl.DataFrame(columns, schema=_SCHEMA).with_columns(pl.col(pl.Float64).fill_nan(None))
