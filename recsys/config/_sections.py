"""One frozen class per stage."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from recsys.config._times import Duration, Instant

#: Counted once an entry; see `recsys.engines.spark` and tests/benchmarks/LOG.md.
SPARK_REGULARIZATION = 1.0


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Columns(_Section):
    """Which column, or SQL expression over columns, plays which role.

    A role left at ``None`` is read from its default column when the log has one. `event_type` is
    needed by the `event_log` layout only. `item_created_at` is a time as the log's own are: how new an item is
    counts from it where a row before the cut tells it, else from the first exposure. `is_random` marks exposures
    that were drawn at random, `session` the visit that each was part of; the audit reads both, the model neither.
    `groups`, each a name and its column or expression, are what the evaluation looks at separately, beside the
    columns whose name begins with ``group_``; the model does not see them.
    """

    user: str = "user_id"
    item: str = "item_id"
    time: str = "timestamp"
    like: str | None = None
    dwell: str | None = None
    history_only: str | None = None
    creator: str | None = None
    category: str | None = None
    item_created_at: str | None = None
    is_random: str | None = None
    session: str | None = None
    groups: dict[str, str] = Field(default_factory=dict)
    event_type: str = "event_type"


class EventsSettings(_Section):
    """Where the log is and how to read it.

    `signals` and `outcomes` are columns, or SQL with a name (``"a / b AS share"``). `event_types` says
    which types of an event log are a `view`, a `like`, or an outcome; a like belongs to the last view at
    most `like_within` before it. `negatives_kept` is the share of unliked exposures that the log kept, where
    they were sampled: `will_like` is corrected for it, and the evaluation scores the rows as they were logged,
    without the correction. Exposures younger than `settle` at a cut say nothing yet. The job stops when more than
    the share `max_refused` of the rows is refused.
    """

    path: str | None = None
    layout: Literal["exposures", "event_log"] = "exposures"
    columns: Columns = Columns()
    time_unit: Literal["s", "ms", "us"] | None = None
    signals: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()
    event_types: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    like_within: Duration = timedelta(days=1)
    settle: Duration = timedelta(0)
    max_refused: Annotated[float, Field(ge=0, le=1)] = 0.01
    negatives_kept: Annotated[float, Field(gt=0, le=1)] = 1.0

    @property
    def folds(self) -> bool:
        """Whether rows are events, of which exposures are made."""
        return self.layout == "event_log"

    @model_validator(mode="after")
    def _event_log_names_its_types(self) -> EventsSettings:
        if self.folds and "view" not in self.event_types:
            raise ValueError(
                'layout = "event_log" needs the event types that are views, '
                'as in event_types = { view = ["VIEW"], like = ["LIKE"] }'
            )
        return self


class WindowsSettings(_Section):
    """Lengths back from as_of, or instants with a zone.

    `gap` lies before each window: features are from before it, as in a job that serves a day later.
    """

    calibrate: Duration = timedelta(days=3)
    test: Duration = timedelta(days=3)
    gap: Duration = timedelta(0)
    calibrate_from: Instant | None = None
    test_from: Instant | None = None


class ModelSettings(_Section):
    """How factors, rates, head and calibrator are fitted.

    `regularization` and `alpha` are those of Hu, Koren and Volinsky (2008), confidence ``1 + alpha * r``. Spark
    counts the regularization of a row once for each of its entries, hence another default there: 1.
    `head` is logistic, gbm (LightGBM), or auto: the one that predicts held-out users of the calibrate window
    better. It learns from `cuts` cuts, spread over that window. `l2` is the ridge penalty of the logistic
    head on standardised features; None takes the one of 10 to 1000 that predicts held-out users best;
    `rounds`, the number of trees of gbm, likewise of 10 to 200. `half_life` is how many exposures of a user
    it takes until one counts half in what the user did lately. Every factorisation proposes its best
    `candidates` items a user, and so does the crowd; the likeliest of them are recommended. A signal with
    fewer than `min_signal_rows` positive rows before the cut is skipped and named. The calibrator is fitted
    on predictions for `folds` folds of users, each left out in turn. Head and calibrator learn from at most
    `head_rows` exposures, of more from a random sample. `solver` is who takes the steps of a
    factorisation: implicit, our own compiled for this machine (equal but for rounding), or auto, the compiled
    one where the factorisation is large enough to be worth loading it.
    `engine` spark is for logs that no longer fit this machine, see `SparkSettings`; it needs the extra of that name.
    With `warm_start` the factorisations that are published start from those of the newest model of an earlier
    as_of, and stop when an iteration lowers the loss by less than the share `warm_tolerance`; every `cold_every`
    runs they start afresh.
    """

    engine: Literal["local", "spark"] = "local"
    solver: Literal["auto", "compiled", "implicit"] = "auto"
    head: Literal["logistic", "gbm", "auto"] = "logistic"
    factors: Annotated[int, Field(ge=1, le=4096)] = 64
    iterations: Annotated[int, Field(ge=1)] = 15
    alpha: Annotated[float, Field(gt=0)] = 10.0
    regularization: Annotated[float, Field(gt=0)] = 0.05
    l2: Annotated[float, Field(gt=0)] | None = None
    rounds: Annotated[int, Field(ge=1)] | None = None
    folds: Annotated[int, Field(ge=2)] = 5
    head_rows: Annotated[int, Field(ge=1000)] = 1_000_000
    half_life: Annotated[float, Field(gt=0)] = 30.0
    cuts: Annotated[int, Field(ge=1)] = 3
    candidates: Annotated[int, Field(ge=1)] = 100
    min_signal_rows: Annotated[int, Field(ge=1)] = 100
    warm_start: bool = False
    warm_tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.005
    cold_every: Annotated[int, Field(ge=1)] = 30
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    @model_validator(mode="before")
    @classmethod
    def _regularization_of_the_engine(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("engine") == "spark":
            return {"regularization": SPARK_REGULARIZATION, **values}
        return values

    @model_validator(mode="after")
    def _spark_starts_afresh(self) -> ModelSettings:
        if self.warm_start and self.engine == "spark":
            raise ValueError(
                'warm_start needs engine = "local": the ALS of Spark cannot start from given factors'
            )
        return self


class SparkSettings(_Section):
    """Where Spark runs, for `model.engine` spark; a session that is already open is used as it is.

    `master` is what spark-submit takes: local[*] is this machine, spark://host:7077, k8s://host or yarn a cluster,
    sc://host:15002 Spark Connect. `options` are Spark's own, as in ``{ "spark.executor.memory" = "8g" }``.
    """

    model_config = ConfigDict(coerce_numbers_to_str=True)

    master: str = "local[*]"
    options: dict[str, str] = Field(default_factory=dict)

    @field_validator("options", mode="before")
    @classmethod
    def _writes_booleans_as_spark_does(cls, options: Any) -> Any:
        if not isinstance(options, dict):
            return options
        return {
            name: str(value).lower() if isinstance(value, bool) else value for name, value in options.items()
        }

    @field_validator("master")
    @classmethod
    def _is_a_master(cls, master: str) -> str:
        if not re.match(r"(local(\[.+\]|-cluster\[.+\])?|yarn|spark://.+|k8s://.+|sc://.+)$", master):
            raise ValueError(
                "a master looks like local[*], spark://host:7077, k8s://host, yarn or sc://host:15002"
            )
        return master


class EvaluationSettings(_Section):
    """How figures get their intervals: `bootstraps` draws of users, `null_draws` of labels."""

    bootstraps: Annotated[int, Field(ge=100)] = 1000
    null_draws: Annotated[int, Field(ge=100)] = 200


class AuditSettings(_Section):
    """How the like button is audited.

    `primary_outcome` is what past likes are to predict: an outcome that is not a like (`liked` is the secondary one).
    `margin` is what counts as nothing, in shares of the outcome's entropy, set before looking. Real likes are tried
    with `seeds` starts, each kind of placebo with `placebos` draws, under each of `heads`.
    """

    primary_outcome: str = "long_view"
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.001
    seeds: Annotated[int, Field(ge=2)] = 5
    placebos: Annotated[int, Field(ge=2)] = 5
    heads: Annotated[tuple[Literal["logistic", "gbm"], ...], Field(min_length=1)] = ("logistic", "gbm")


class GatesSettings(_Section):
    """Bounds that a `recsys run` must meet before anything is published. None: not asked.

    `max_age` is how old the newest exposure may be at as_of. `min_volume` and `max_volume` hold the rows that were
    accepted, and those of the test window, against their median over the `recent` last runs that are kept, all as of an
    earlier time; `max_like_rate_shift` the test window's like rate, 0.3 being three tenths up or down. A
    `max_normalized_entropy` of 1 is a forecaster that only knows the like rate of the test window. `max_entropy_rise`
    is by how much the normalised entropy may lie above that of the version that serves, on the exposures after its
    as_of; with fewer than `min_likes` of them liked it is not asked. That version knows days that the procedure's own
    features, frozen before the test window, do not: leave room for it. `max_bias` is how many likes too many or too
    few may be forecast: 0.2 is a fifth. `max_population_drift` is the population stability index between the
    probabilities of the test exposures and those of the last run; by custom 0.1 is moderate, 0.25 large.
    """

    max_age: Duration | None = None
    min_volume: Annotated[float, Field(gt=0, le=1)] | None = None
    max_volume: Annotated[float, Field(ge=1)] | None = None
    max_like_rate_shift: Annotated[float, Field(gt=0)] | None = None
    max_normalized_entropy: Annotated[float, Field(gt=0)] = 1.0
    max_entropy_rise: Annotated[float, Field(ge=0)] | None = None
    max_bias: Annotated[float, Field(gt=0)] | None = None
    max_population_drift: Annotated[float, Field(gt=0)] | None = None
    recent: Annotated[int, Field(ge=1)] = 7
    min_likes: Annotated[int, Field(ge=1)] = 100


class OutputSettings(_Section):
    """Where results go, and how many of them: `top_n` items a user, `keep` model versions, `keep_days` of predictions.

    The newest are kept, by as_of; the current version always, and every day where `keep_days` is not set.
    At most `max_per_creator` items of a user's list are of one creator; so are the lists that the evaluation scores.
    """

    path: str = "out"
    top_n: Annotated[int, Field(ge=1)] = 100
    max_per_creator: Annotated[int, Field(ge=1)] | None = None
    exclude: Literal["seen", "liked", "none"] = "seen"
    keep: Annotated[int, Field(ge=1)] = 7
    keep_days: Annotated[int, Field(ge=1)] | None = None


class Settings(_Section):
    """Every setting of a run.

    Examples
    --------
    >>> Settings(model=ModelSettings(factors=32)).model.factors
    32
    """

    events: EventsSettings = EventsSettings()
    windows: WindowsSettings = WindowsSettings()
    model: ModelSettings = ModelSettings()
    spark: SparkSettings = SparkSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    audit: AuditSettings = AuditSettings()
    gates: GatesSettings = GatesSettings()
    output: OutputSettings = OutputSettings()
