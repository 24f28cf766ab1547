"""The same job on Spark, for logs that do not fit one machine.

Spark moves rows, the kernels are ours: executors hold batches of the log against the local reader's rules, and batches
of users, each with all its rows, are folded where rows are events, and become small snapshots that the local code
describes, scores and ranks. Only the factorisation is another: MLlib's ALS. recsys must be installed on every machine.

What it takes, on paper
-----------------------
Assumed: 1 billion users, 10 million items, 30 entries a user and 3,000 an item in the matrix of one signal (30
billion), 64 factors of 4 bytes, 1,000 blocks each way, which is as many as `factorise` makes; machines of 16 cores,
128 GB and a network of 10 Gbit/s (1.25 GB/s each way). Figures are of one signal; a run fits one factorisation a signal
and cut.

- *Memory of factors.* Users 1e9 x 64 x 4 B = 256 GB, items 2.56 GB. MLlib holds each side once as it is and once as it
  is read, and an array of Java has 16 B of its own: some 540 GB. Entries lie twice, by user and by item, 8 B each: 480
  GB; who is sent where is an integer for each row and block, 160 GB. About 1.2 TB: ten such machines just hold it, on
  fewer it goes to disk.
- *Traffic of an iteration.* A row is sent once to each block that has an entry with it: of n entries in B blocks,
  B (1 - (1 - 1/B)^n). A user's goes to 29.6 blocks of items, 7.6 TB in all; an item's to 950 blocks of users, 2.4 TB.
  10 TB, and little less with fewer blocks: with 100, users still reach 26.
- *Arithmetic of an iteration.* f (f + 1) / 2 multiply-adds an entry and side, f^3 / 6 a row: 1.7e14. Measured, on
  a million entries of 120,000 rows, a core does 1e9 a second: 170,000 seconds of a core.

| machines | network | cores | 15 iterations |
|---|---|---|---|
| 1 | none, but 10 TB to disk and back at 1 GB/s: 5.6 h | 2.9 h | 5 days, if 1.2 TB of disk are given |
| 10 | 9 TB over 12.5 GB/s: 12 min | 18 min | 7.5 h |
| 100 | 9.9 TB over 125 GB/s: 80 s | 106 s | 47 min |

- *Items.* Every Python worker holds all items: factors of each signal, tables, and what goes with them, some 300 B an
  item and signal. At 8 workers of 4 GB a machine and 4 signals that is 3 million items; the driver, which sends them,
  needs as much. Beyond it items would have to be cut into blocks, each block ranked for every batch of users and the
  best n of each merged, which is exact, since the best of all are among the best of their block; what moves is
  users x blocks x n x 12 B, 4.8 TB for 1 billion users, 4 blocks and n = 100. That is not built.
- *The driver* holds items, creators and categories, and the sampled users the head learns from. `train` also collects
  the factors of every user, since the artefact is one: 256 B a user and signal, 100 million users for 128 GB. Refused
  rows come to it too: at most the share `events.max_refused`.
- *Text.* A CSV or NDJSON file is read whole by one task, and the types of NDJSON are found on the driver: write
  parquet, of which a task reads a piece, or files of a few hundred MB.

Where it starts to pay: where the log does not fit. The local solver takes .2 seconds of a core for an iteration of
the million entries above, MLlib's takes 9.4 (with a native BLAS and LAPACK, half), and 20 to 60 seconds go by before
Spark does anything. Each half of an iteration is a job, some 70 ms of CPU however small: a run of 7 cuts and 4 signals
has 840 at 15 iterations. A whole run on a million simulated exposures, at 32 factors and 10 iterations, took 637 s of
CPU in Spark, 117 s locally. Locally a row takes some 950 B (`recsys doctor` forecasts it), so that 64 GB are about 60
million exposures and 512 GB half a billion: below that, one machine is faster and cheaper than any number of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.config import ModelSettings
from recsys.engines._spark._als import SparkFactors, collect_factors, factorise, rows_of
from recsys.engines._spark._arrow import collect, to_table
from recsys.engines._spark._collect import collect_snapshot
from recsys.engines._spark._failures import in_one_line
from recsys.engines._spark._log import SparkLog
from recsys.engines._spark._read import read
from recsys.engines._spark._records import Records, UserFactors
from recsys.engines._spark._score import Order, rank_everyone, rank_from_model
from recsys.engines._spark._session import open_session
from recsys.engines._spark._snapshots import Everyone, SparkSnapshots
from recsys.factors import Factors
from recsys.matrix import UserItems

__all__ = [
    "Everyone",
    "Order",
    "Records",
    "SparkEngine",
    "SparkFactors",
    "SparkLog",
    "SparkSnapshots",
    "UserFactors",
    "collect",
    "collect_snapshot",
    "factorise",
    "in_one_line",
    "open_session",
    "rank_everyone",
    "rank_from_model",
    "read",
    "to_table",
]


@dataclass(frozen=True)
class SparkEngine:
    """MLlib's ALS in the session that is open, or on this machine.

    Attributes
    ----------
    threads : int
        Not used: the session says how many there are.

    """

    threads: int = 0

    def fit(
        self, user_items: UserItems, settings: ModelSettings, seed: int, start: Factors | None = None
    ) -> Factors:
        """Factorise a matrix of the driver; `factorise` takes rows that never come here.

        Parameters
        ----------
        user_items : csr_matrix of float32, shape (n_users, n_items)
        settings : ModelSettings
        seed : int
        start : Factors, optional
            Passed over: MLlib starts afresh.

        Returns
        -------
        Factors

        """
        shape = user_items.shape
        if not (user_items.data > 0).any():
            empty = (np.zeros((count, settings.factors), np.float32) for count in shape)
            return Factors(*empty)
        return collect_factors(factorise(rows_of(user_items, open_session()), settings, seed), shape)
