"""Settings: one frozen class per stage, read from recsys.toml.

Command-line options beat environment variables (``RECSYS_MODEL__FACTORS=32``) beat the file. A name in
the environment is a setting only if it holds ``__``. Whatever is not a setting is refused with the
nearest right one.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from recsys.errors import ConfigError, InputError, cut, nearest

CONFIG_NAME = "recsys.toml"
ENV_PREFIX = "RECSYS_"
_UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_LENGTHS, _AN_INSTANT = "3d, 12h or 1d12h", "2022-04-27T16:00:00Z"
_LONGEST_DAYS = 36_500
_LARGEST, _DEEPEST, _LONGEST_SAID = 2**20, 8, 200


def parse_duration(text: str) -> timedelta:
    """Read a length of time such as ``3d``, ``12h`` or ``1d12h``.

    Parameters
    ----------
    text : str
        Whole numbers followed by w, d, h, m or s.

    Returns
    -------
    datetime.timedelta

    Raises
    ------
    ValueError
        When the text is anything else.

    Examples
    --------
    >>> parse_duration("1d12h")
    datetime.timedelta(days=1, seconds=43200)
    """
    parts = re.findall(r"(\d+)([wdhms])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        raise ValueError(f"a length of time looks like {_LENGTHS}, got {text!r}")
    try:
        return sum((timedelta(**{_UNITS[unit]: int(number)}) for number, unit in parts), timedelta())
    except OverflowError:
        raise ValueError(f"a length of time of {text!r} is beyond all calendars") from None


def _duration(value: object) -> object:
    # A bare number would be taken for seconds.
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise ValueError(f"a length of time looks like {_LENGTHS}")
    return parse_duration(value)


def _instant(value: object) -> object:
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        raise ValueError(f"an instant looks like {_AN_INSTANT}")
    if value.tzinfo is None:
        raise ValueError(f"an instant needs its zone, as in {value.isoformat()}Z")
    return value.astimezone(UTC)


Duration = Annotated[
    timedelta, BeforeValidator(_duration), Field(ge=timedelta(0), le=timedelta(days=_LONGEST_DAYS))
]
Instant = Annotated[datetime, BeforeValidator(_instant)]


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

    @model_validator(mode="after")
    def _event_log_names_its_types(self) -> EventsSettings:
        if self.layout == "event_log" and "view" not in self.event_types:
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

    `regularization` and `alpha` are those of Hu, Koren and Volinsky (2008), confidence ``1 + alpha * r``.
    `head` is logistic, gbm (LightGBM), or auto: the one that predicts held-out users of the calibrate window
    better. It learns from `cuts` cuts, spread over that window. `l2` is the ridge penalty of the logistic
    head on standardised features; None takes the one of 10 to 1000 that predicts held-out users best;
    `rounds`, the number of trees of gbm, likewise of 20 to 400. `half_life` is how many exposures of a user
    it takes until one counts half in what the user did lately. Every factorisation proposes its best
    `candidates` items a user, and so does the crowd; the likeliest of them are recommended. A signal with
    fewer than `min_signal_rows` positive rows before the cut is skipped and named. The calibrator is fitted
    on predictions for `folds` folds of users, each left out in turn. Head and calibrator learn from at most
    `head_rows` exposures, of more from a random sample. `solver` is who takes the steps of a
    factorisation: implicit, our own compiled for this machine (equal but for rounding), or auto, the compiled
    one where the factorisation is large enough to be worth loading it.
    With `warm_start` the factorisations that are published start from those of the newest model of an earlier
    as_of, and stop when an iteration lowers the loss by less than the share `warm_tolerance`; every `cold_every`
    runs they start afresh.
    """

    engine: Literal["local"] = "local"
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
    evaluation: EvaluationSettings = EvaluationSettings()
    audit: AuditSettings = AuditSettings()
    gates: GatesSettings = GatesSettings()
    output: OutputSettings = OutputSettings()


def load_settings(
    path: str | os.PathLike[str] | None = None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Read recsys.toml, then the environment, then the overrides.

    Parameters
    ----------
    path : path-like, optional
        The file, or the folder that holds a `recsys.toml`. Relative paths inside it start at the file's
        folder. Without it the defaults stand.
    overrides : mapping of section to mapping of key to value, optional
        What the command line says. `None` values are passed over.
    environ : mapping, optional
        Default `os.environ`.

    Returns
    -------
    Settings

    Raises
    ------
    InputError
        When the file is missing or unreadable.
    ConfigError
        When it is not TOML, or says something that is not a setting.
    """
    written = _read_toml(Path(path)) if path is not None else {}
    layers = [written, _from_environment(os.environ if environ is None else environ), dict(overrides or {})]
    try:
        return build_settings(_merge(*layers))
    except RecursionError:
        raise ConfigError("the settings are nested too deep: a setting is a key of a section") from None


def build_settings(values: Mapping[str, Any]) -> Settings:
    """Turn a nested mapping into settings, with one-line errors.

    Parameters
    ----------
    values : mapping of section to mapping of key to value

    Returns
    -------
    Settings

    Raises
    ------
    ConfigError
        Naming the key, the value and the way out.
    """
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None
    except RecursionError:
        raise ConfigError("the settings are nested too deep: a setting is a key of a section") from None


def _read_toml(path: Path) -> dict[str, Any]:
    path = path / CONFIG_NAME if path.is_dir() else path
    try:
        # Not more: a device has no end.
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise InputError(f"the configuration {str(path)!r} cannot be read: {error.strerror}") from None
    if len(content) > _LARGEST:
        raise ConfigError(f"{path} must be smaller than 1 MiB, as any recsys.toml is")
    try:
        written = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {_first_line(error)}") from None
    except (RecursionError, ValueError) as error:  # an integer of thousands of digits is a ValueError
        said = _first_line(error)
        raise ConfigError(f"{path} is no recsys.toml, its values are too deep or too long: {said}") from None
    for section in ("events", "output"):
        place = written.get(section)
        if isinstance(place, dict) and isinstance(place.get("path"), str) and "://" not in place["path"]:
            place["path"] = str(path.parent / place["path"])
    return written


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:_LONGEST_SAID]


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, text in sorted(environ.items()):
        if not name.startswith(ENV_PREFIX) or "__" not in name:
            continue
        value, keys = _environment_value(text), name.removeprefix(ENV_PREFIX).lower().split("__")
        if len(keys) > _DEEPEST:
            raise ConfigError(
                f"{name[:_LONGEST_SAID]!r} is not a setting: a name is {ENV_PREFIX}SECTION__KEY"
            )
        for key in reversed(keys):
            value = {key: value}
        found = _merge(found, value)
    return found


def _environment_value(text: str) -> Any:
    """Read lists, tables and quoted text as TOML; plain text becomes what its setting needs."""
    if not text.startswith(("[", "{", '"', "'")):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError, ValueError):
        return text


def _merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
                merged[key] = _merge(merged[key], value)
            elif isinstance(value, Mapping):
                merged[key] = _merge(value)
            elif value is not None:
                merged[key] = value
    return merged


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    name = ".".join(place)
    if first["type"] == "extra_forbidden":
        return f"{cut(name)!r} is not a setting: {nearest(place[-1], _names_at(place[:-1]))}"
    said = first["msg"].removeprefix("Value error, ")
    return f"{cut(name)}: {said}, got {_shown(first['input'])}" if place else said


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except (RecursionError, ValueError):
        return f"a {type(value).__name__}"
    return text if len(text) <= _LONGEST_SAID else text[: _LONGEST_SAID - 3] + "..."


def _names_at(place: list[str]) -> list[str]:
    model: Any = Settings
    for part in place:
        model = model.model_fields[part].annotation
    return list(model.model_fields)
