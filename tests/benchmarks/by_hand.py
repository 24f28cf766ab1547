"""The work of `recsys train` and `recsys predict` as a competent user writes it with what everyone knows.

pandas, implicit and scikit-learn: one factorisation a signal before the calibrate window, a logistic regression
on their dot products and on the rates of user and item, all of it refitted on the whole log, the top 100 of every
user by like score put in order of probability, parquet out. What its libraries do in parallel they do in parallel,
and lists are made for some thousands of users at a time.

Run from the root of the repository on a simulated log, as `pipeline.py` does::

    uv run python tests/benchmarks/by_hand.py LOG.parquet PREDICTIONS.parquet [--factors 64] [--top-n 100]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd
from implicit.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix
from scipy.special import logit
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

SIGNALS = ("liked", "long_view", "dwell_seconds")
WINDOW = pd.Timedelta(days=3)
ALPHA, REGULARIZATION, ITERATIONS = 10.0, 0.05, 15
PRIOR_WEIGHT = 10.0
USERS_AT_ONCE = 5_000


class Past:
    """Factors and like rates of what came before a moment; every user and item of the log has a row."""

    def __init__(self, events, shape, factors):
        self.seen = csr_matrix((np.ones(len(events), np.float32), (events.user, events.item)), shape=shape)
        self.factors = {name: fit_als(events, name, shape, factors) for name in SIGNALS}
        self.user_rate = like_rate(events, "user", shape[0])
        self.item_rate = like_rate(events, "item", shape[1])

    def features(self, users, items):
        """Compute dot products and rates, a row a pair."""
        dots = [
            np.einsum("nd,nd->n", als.user_factors[users], als.item_factors[items])
            for als in self.factors.values()
        ]
        return np.column_stack([*dots, self.user_rate[users], self.item_rate[items]])


def fit_als(events, name, shape, factors):
    """Factorise one signal, in units of its median."""
    positive = events[events[name] > 0]
    strength = (positive[name] / positive[name].median()).clip(upper=10).to_numpy(np.float32)
    matrix = csr_matrix((strength, (positive.user, positive.item)), shape=shape)
    matrix.sum_duplicates()
    matrix.data = 1 + ALPHA * matrix.data
    with threadpool_limits(1, "blas"):  # as implicit asks
        als = AlternatingLeastSquares(
            factors=factors,
            regularization=REGULARIZATION,
            alpha=1.0,
            iterations=ITERATIONS,
            random_state=0,
        )
        als.fit(matrix, show_progress=False)
    return als


def like_rate(events, kind, size):
    """Smooth the like rate of each user or item, in log-odds."""
    likes = np.bincount(events[kind], weights=events.liked, minlength=size)
    shown = np.bincount(events[kind], minlength=size)
    prior = events.liked.mean()
    return logit((likes + PRIOR_WEIGHT * prior) / (shown + PRIOR_WEIGHT))


def recommend(past, head, top_n, user_ids, item_ids):
    """Take each user's best unseen items by like score, and put them in order of probability."""
    for start in range(0, len(user_ids), USERS_AT_ONCE):
        users = np.arange(start, min(start + USERS_AT_ONCE, len(user_ids)))
        items, scores = past.factors["liked"].recommend(
            users, past.seen[users], N=top_n, filter_already_liked_items=True
        )
        users, items = np.repeat(users, top_n), items.ravel()
        lists = pd.DataFrame({"user": users, "item": items, "score": scores.ravel()})
        lists["will_like"] = head.predict_proba(past.features(users, items))[:, 1].astype(np.float32)
        lists = lists.sort_values(["user", "will_like"], ascending=[True, False], kind="stable")
        lists["rank"] = (lists.groupby("user").cumcount() + 1).astype(np.int32)
        lists["user_id"], lists["item_id"] = user_ids[lists.user], item_ids[lists.item]
        yield lists[["user_id", "item_id", "rank", "will_like", "score"]]


def main():
    """Read, fit, rank, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("log")
    parser.add_argument("predictions")
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--top-n", type=int, default=100)
    options = parser.parse_args()
    began = time.perf_counter()

    def say(what):
        print(f"{time.perf_counter() - began:7.1f} s  {what}", flush=True)

    columns = ["user_id", "item_id", "timestamp", *SIGNALS]
    events = pd.read_parquet(options.log, columns=columns)
    events["user"], user_ids = pd.factorize(events.user_id)
    events["item"], item_ids = pd.factorize(events.item_id)
    events = events.drop(columns=["user_id", "item_id"])
    shape = (len(user_ids), len(item_ids))
    say("read")
    cut = events.timestamp.max() - WINDOW
    calibrate = events[events.timestamp >= cut]
    past = Past(events[events.timestamp < cut], shape, options.factors)
    say("factors before the calibrate window")
    head = make_pipeline(StandardScaler(), LogisticRegression())
    head.fit(past.features(calibrate.user, calibrate.item), calibrate.liked)
    say("head")
    past = Past(events, shape, options.factors)
    say("factors of the whole log")
    lists = list(recommend(past, head, options.top_n, user_ids, item_ids))
    say("lists")
    pd.concat(lists, ignore_index=True).to_parquet(options.predictions, index=False)
    say("written")


if __name__ == "__main__":
    main()
