"""A snapshot and a head."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import ModelSettings, WindowsSettings
from recsys.errors import UsageError
from recsys.events import EventLog, read_events
from recsys.features import Pairs, Snapshot, Snapshots, SnapshotSource, reads
from recsys.model._artefact import from_files, to_files
from recsys.model._explain import Explanation, explain_pair
from recsys.model._lessons import collect_lessons
from recsys.model._recommend import rank_by_candidates
from recsys.model._score import Scorer
from recsys.model._select import Wanted
from recsys.model._tables import as_logged, index_users, list_items
from recsys.probability import ProbabilityHead, fit_probability_head
from recsys.schema import ITEM, LIKED, TIME, USER, Frame, in_kind, require_columns, to_polars
from recsys.split import Window, exposures_in, known_before, require_both_labels, slide_to_end, split_by_time

#: Items a user that each factorisation, and the crowd, propose.
CANDIDATES = ModelSettings().candidates


@dataclass(frozen=True)
class WillLikeModel:
    """How likely each person is to press like, if shown an item.

    Attributes
    ----------
    snapshot : Snapshot
        Everything known before `as_of`.
    head : ProbabilityHead or None
        None for a log of positives only: then it ranks, and `will_like` is null.
    log : EventLog or None
        That it was fitted on; None when loaded from files.
    threads : int
        0 means one a core. No result depends on it.

    Notes
    -----
    A probability is conditional on an exposure like the logged ones.

    """

    snapshot: Snapshot
    head: ProbabilityHead | None
    log: EventLog | None = None
    threads: int = 0

    @classmethod
    def fit(
        cls,
        exposures: EventLog | Frame,
        settings: ModelSettings | None = None,
        as_of: datetime | None = None,
        *,
        windows: WindowsSettings | None = None,
        threads: int = 0,
    ) -> WillLikeModel:
        """Fit the model that `recsys train` publishes.

        Parameters
        ----------
        exposures : EventLog or polars or pandas frame
            A frame needs the default column names.
        settings : ModelSettings, optional
        as_of : datetime.datetime, optional
            Default: the end of the log.
        windows : WindowsSettings, optional
            The head is fitted on exposures of the last `windows.calibrate` before as_of, with features
            from before them; factors and rates are then refreshed to as_of.
        threads : int, optional

        Returns
        -------
        WillLikeModel

        Raises
        ------
        DataError
            When the head's window lacks likes, or nothing lies before it.

        Examples
        --------
        >>> from recsys.simulation import World, simulate
        >>> log = simulate(World.preset("small", exposures=4000, users=100, items=50, seed=1)).events
        >>> model = WillLikeModel.fit(log, ModelSettings(factors=8, iterations=2))
        >>> model.recommend([1, 2], n=3)["rank"].to_list()
        [1, 2, 3, 1, 2, 3]

        """
        log = exposures if isinstance(exposures, EventLog) else read_events(exposures, as_of=as_of)
        settings, windows = settings or ModelSettings(), windows or WindowsSettings()
        laid = split_by_time(windows, as_of or log.as_of)
        window = slide_to_end(laid, windows.gap)
        return fit_model(Snapshots(log, settings, threads, remember=False), window, window.end)

    def predict_proba(self, pairs: Frame) -> Any:
        """Say how likely each user is to like each item, if shown it.

        Parameters
        ----------
        pairs : polars or pandas frame
            `user_id`, `item_id`; optionally `creator_id` and `category`, which help with new items.

        Returns
        -------
        frame of the same kind and length
            `user_id`, `item_id`, `will_like` (float32, in (0, 1)), `will_like_low`, `will_like_high`
            (float32, `BetaCalibrator.interval`), `score` (float32; null when either side has no like before
            the cut).

        Raises
        ------
        InputError
            When a column is missing.

        """
        asked = to_polars(pairs)
        require_columns(asked, (USER, ITEM), "the table of pairs")
        placed = self.snapshot.place(asked)
        columns = self._scorer.columns(placed, self._scorer.order(placed))
        return in_kind(asked.select(USER, ITEM).with_columns(columns), pairs)

    def recommend(
        self,
        user_ids: Any = None,
        n: int = 20,
        *,
        items: Frame | None = None,
        exclude: Frame | None = None,
        candidates: int = CANDIDATES,
        max_per_creator: int | None = None,
    ) -> Any:
        """Rank every user's n likeliest items among the candidates.

        Parameters
        ----------
        user_ids : sequence or series of ids, optional
            Default: every user seen before as_of. New users get what a new user gets.
        n : int
        items : polars or pandas frame, optional
            The eligible catalogue: `item_id`, optionally `creator_id`, `category`. Default: every item
            seen before as_of.
        exclude : polars or pandas frame, optional
            Pairs `user_id`, `item_id` not to recommend. Default: what the log that was fitted showed.
        candidates : int, optional
            Items a user that each factorisation the head reads proposes, and that would be proposed to someone
            unknown; at least n + 8. With as many as there are items, the ranking is that of the whole catalogue.
        max_per_creator : int, optional
            Items of one creator in a user's list, which may then be shorter than n. Default: any number.

        Returns
        -------
        polars.DataFrame, or pandas.DataFrame when `user_ids` or `items` is pandas
            `user_id`, `item_id`, `rank` (int32, from 1), then the columns of `predict_proba`; sorted by
            user and rank. Rank follows `will_like` (equal ones: the log-odds before calibration). Where that is
            null it follows the like score, and for users without likes how often items were shown. Ties go to
            the item that sorts first.

        Raises
        ------
        UsageError
            When a model loaded from files is not told what to exclude, a number is below 1, or creators are to
            be limited and the log has none.

        """
        wanted = Wanted(n, (candidates,), max_per_creator)
        parts = self.recommend_in_parts(user_ids, wanted, items=items, exclude=exclude)
        return in_kind(pl.concat(part[candidates] for part in parts), user_ids, items)

    def recommend_by_candidates(
        self,
        user_ids: Any = None,
        n: int = 20,
        *,
        items: Frame | None = None,
        exclude: Frame | None = None,
        candidates: Sequence[int],
        max_per_creator: int | None = None,
    ) -> dict[int, pl.DataFrame]:
        """Give what `recommend` would with each of several numbers of candidates, scoring every pair once.

        Parameters
        ----------
        user_ids, n, items, exclude, max_per_creator
            As in `recommend`.
        candidates : sequence of int
            At least one.

        Returns
        -------
        dict of int to polars.DataFrame
            By number of candidates.

        Raises
        ------
        UsageError
            As `recommend`.

        """
        wanted = Wanted(n, tuple(candidates), max_per_creator)
        parts = list(self.recommend_in_parts(user_ids, wanted, items=items, exclude=exclude))
        return {number: pl.concat(part[number] for part in parts) for number in wanted.candidates}

    def recommend_in_parts(
        self, user_ids: Any, wanted: Wanted, *, items: Frame | None = None, exclude: Frame | None = None
    ) -> Iterator[dict[int, pl.DataFrame]]:
        """Give what `recommend_by_candidates` would, for some users after the other.

        Parameters
        ----------
        user_ids, items, exclude
            As in `recommend`.
        wanted : Wanted

        Returns
        -------
        iterator of dict of int to polars.DataFrame
            By number of candidates; at least one.

        Raises
        ------
        UsageError
            As `recommend`, at once.

        """
        wanted.require_possible(self.snapshot)
        not_again = self.shown if exclude is None else to_polars(exclude)
        if not_again is None:
            raise UsageError("a model loaded from files has no log: say which pairs to exclude (exclude=...)")
        require_columns(not_again, (USER, ITEM), "the table of pairs to exclude")
        users = index_users(user_ids, self.snapshot.entities[USER].index)
        catalogue = list_items(items, self.snapshot.entities[ITEM].index)
        return rank_by_candidates(self._scorer, users, catalogue, not_again, wanted)

    def explain(self, user_id: Any, item_id: Any, history: EventLog | None = None) -> Explanation:
        """Say why one probability is what it is, in words and in log-odds that add up.

        Parameters
        ----------
        user_id, item_id : int or str
            New ones get what a new user or item gets, and a note that says so.
        history : EventLog, optional
            The log up to the model's as_of, for the past items behind the ALS scores. Default: the
            log that was fitted; a model loaded from files has none, and then they are left out.

        Returns
        -------
        Explanation

        Raises
        ------
        DataError
            When the model has no probabilities, or an id is not of the log's kind.
        InputError
            When the log lacks a signal.

        Examples
        --------
        >>> from recsys.simulation import World, simulate
        >>> log = simulate(World.preset("small", exposures=4000, users=100, items=50, seed=1)).events
        >>> why = WillLikeModel.fit(log, ModelSettings(factors=8, iterations=2)).explain(1, 2)
        >>> abs(why.steps()["probability"][-1] - why.will_like) < 1e-9
        True

        """
        asked = {
            kind: as_logged(pl.Series(kind, [given]), self.snapshot.entities[kind].index.ids.dtype)
            for kind, given in {USER: user_id, ITEM: item_id}.items()
        }
        log = self.log if history is None else history
        return explain_pair(self.snapshot, self._scorer.known_head, pl.DataFrame(asked), log)

    @property
    def shown(self) -> pl.DataFrame | None:
        """What the log that was fitted showed, `user_id`, `item_id`, `liked`; None when loaded from files."""
        if self.log is None:
            return None
        return known_before(self.log.shown, self.snapshot.cut).select(USER, ITEM, LIKED)

    def to_files(self) -> dict[str, bytes]:
        """Write the model as named bytes: equal models, equal bytes."""
        return to_files(self.snapshot, self.head)

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], threads: int = 0) -> WillLikeModel:
        """Read a model back from `to_files`."""
        return cls(*from_files(files), threads=threads)

    def features(self, pairs: Pairs) -> NDArray[np.float64]:
        """Compute the head's features of pairs, shape (n, d)."""
        return self._scorer.features(pairs)

    def probabilities(self, pairs: Pairs) -> NDArray[np.float64]:
        """Compute will_like of pairs among exposures as logged, float64, shape (n,)."""
        return self._scorer.known_head.calibrator.apply(self._scorer.order(pairs))

    @property
    def base_rate(self) -> float:
        """Like rate of the exposures that the head was fitted on."""
        return self._scorer.known_head.base_rate

    @property
    def _scorer(self) -> Scorer:
        return Scorer(self.snapshot, self.head, self.threads)


def fit_model(
    snapshots: SnapshotSource,
    window: Window,
    refresh_to: datetime,
    use: Callable[[str], bool] = reads,
    start: Snapshot | None = None,
) -> WillLikeModel:
    """Fit a head on a window, then refresh what it reads: ``fit(c, e)``.

    Parameters
    ----------
    snapshots : SnapshotSource
    window : Window
        The head learns from its exposures, with features from before `window.cut`.
    refresh_to : datetime.datetime
        Cut of the factors and rates that serve.
    use : callable of str to bool, optional
        Which features the head may read; a baseline is the same procedure with fewer.
    start : Snapshot, optional
        Of an earlier cut: where the factors that serve start. Those that the head learns from start afresh.

    Returns
    -------
    WillLikeModel

    Raises
    ------
    DataError
        When the window lacks likes or unliked exposures.

    """
    log, settings = snapshots.log, snapshots.settings
    if log.positives_only:
        return WillLikeModel(snapshots.at(refresh_to, start=start), None, log, snapshots.threads)
    labels = log.only(TIME, LIKED).exposures
    require_both_labels(exposures_in(labels, window, log.settle), window, "calibrate")
    signals = snapshots.usable_signals(window.cut)
    head = fit_probability_head(
        collect_lessons(snapshots, window, use, signals),
        settings,
        negatives_kept=log.negatives_kept,
        threads=snapshots.threads,
    )
    return WillLikeModel(snapshots.at(refresh_to, signals, start), head, log, snapshots.threads)
