"""Every arm asked every question, one arm in memory a thread."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.audit._arms import Arm, Progress
from recsys.audit._dwell import Given
from recsys.audit._looks import Look, Material, gather_material
from recsys.audit._placebo import Placebos, draw_placebos
from recsys.audit._plan import Plan
from recsys.audit._questions import MAY_READ, Answer, Climb, Question, ask, prepare_climb
from recsys.audit._result import PLACEBOS, PRIMARY_PLACEBO, PlaceboCheck
from recsys.audit._rows import AuditRows
from recsys.engines import Engine, engine_for
from recsys.features import reads_likes

Answers = dict[str, NDArray[np.float64]]
BEHAVIOUR, REAL = "behaviour", "real"
LADDER, READ = "ladder", "read"


class Shelf(Protocol):
    """Where finished arms are kept, so that a killed audit can go on."""

    def load(self, name: str) -> Answers | None:
        """Give what was saved under a name; None where nothing was."""
        ...

    def save(self, name: str, answers: Answers) -> None:
        """Keep answers under a name."""
        ...


class NoShelf:
    """Nothing is kept."""

    def load(self, name: str) -> Answers | None:
        """Give nothing."""
        return None

    def save(self, name: str, answers: Answers) -> None:
        """Keep nothing."""


@dataclass(frozen=True)
class Bench:
    """What all arms of a trial share.

    Attributes
    ----------
    rows : AuditRows
    plan : Plan
    given : Given
    material : Material
        Of the first seed.
    questions : dict of str to Question
    climb : Climb or None
        None: no ladder.
    threads : int
    shelf : Shelf

    """

    rows: AuditRows
    plan: Plan
    given: Given
    material: Material
    questions: dict[str, Question]
    climb: Climb | None
    threads: int = 1
    shelf: Shelf = field(default_factory=NoShelf)

    @property
    def engine(self) -> Engine:
        """For arms, of which each thread has one."""
        return engine_for(self.plan.model, 1)

    def observe(self, rows: AuditRows) -> Material:
        """Observe the behaviour of rows whose scored exposures are the same, from the first start."""
        model = self.plan.model.model_copy(update={"seed": seed_of(self.plan, 0)})
        engine = engine_for(model, self.threads)
        return gather_material(rows, rows.score, self.plan.signals, model, engine)

    def examine(self, kind: str, look: Look) -> Answers:
        """Ask a look every question that its kind is for."""
        answers: Answers = {}
        for name, question in self.questions.items():
            answers |= _as_arrays(f"{name}/{kind}", question.answer(look))
            if kind == REAL:
                answers |= _as_arrays(
                    f"{name}/{BEHAVIOUR}", question.answer(look, lambda one: not reads_likes(one))
                )
        if kind == REAL and self.climb:
            answers |= {f"{LADDER}/{rung}": self.climb.forecast(look, rung) for rung in (*MAY_READ, "R5")}
        if kind == PRIMARY_PLACEBO and self.climb:
            answers[f"{LADDER}/R4°"] = self.climb.forecast(look, "R4")
        return answers


def _as_arrays(name: str, answer: Answer) -> Answers:
    """Give the forecast, and beside it how many features were read and a checksum of their names."""
    read = np.array([len(answer.names), zlib.crc32(" ".join(answer.names).encode())], dtype=np.float64)
    return {name: answer.forecast, f"{READ}/{name}": read}


@dataclass(frozen=True)
class Trial:
    """Forecasts of every arm.

    Attributes
    ----------
    forecasts : dict of str to ndarray of float64, shape (k, n_score)
        By ``outcome/head/kind``, a row a seed or draw; by ``ladder/rung`` likewise; by ``read/outcome/head/kind`` what
        the heads read, shape (k, 2).
    checks : tuple of PlaceboCheck

    """

    forecasts: dict[str, NDArray[np.float64]]
    checks: tuple[PlaceboCheck, ...]


def set_bench(
    rows: AuditRows,
    plan: Plan,
    given: Given,
    *,
    also: pl.DataFrame | None = None,
    threads: int = 1,
    shelf: Shelf,
    ladder: bool = True,
) -> Bench:
    """Prepare what all arms share.

    Parameters
    ----------
    rows : AuditRows
    plan : Plan
    given : Given
    also : polars.DataFrame, optional
        More pairs to forecast, after the scored ones.
    threads : int, optional
        At least 1.
    shelf : Shelf
        Where finished arms are kept.
    ladder : bool, optional
        Whether to climb the ladder.

    Returns
    -------
    Bench

    """
    score = rows.score if also is None else pl.concat([rows.score, also], how="diagonal_relaxed")
    model = plan.model.model_copy(update={"seed": seed_of(plan, 0)})
    material = gather_material(rows, score, plan.signals, model, engine_for(model, threads))
    look = material.look(rows.liked, engine_for(model, threads))
    questions = ask(rows, plan, look, threads)
    climb = prepare_climb(rows, plan, look) if ladder else None
    return Bench(rows, plan, given, material, questions, climb, threads, shelf)


def seed_of(plan: Plan, place: int) -> int:
    """Spawn the seed of the factorisations of a start, counted from 0."""
    sequence = np.random.SeedSequence([plan.model.seed, place])
    return int(sequence.generate_state(1)[0] >> 1)


def draw_all(bench: Bench) -> list[Placebos]:
    """Draw every kind of placebo."""
    plan = bench.plan

    def draw(kind: str) -> Placebos:
        return draw_placebos(
            bench.rows, bench.given, kind, plan.audit.placebos, plan.model.seed, bench.threads
        )

    # Side by side: the way to a hub is one thread's.
    with ThreadPoolExecutor(bench.threads) as pool:
        return list(pool.map(draw, PLACEBOS))


def run_trial(bench: Bench, placebos: list[Placebos]) -> Trial:
    """See the log under every kind of likes, and forecast.

    Parameters
    ----------
    bench : Bench
    placebos : list of Placebos

    Returns
    -------
    Trial

    """
    arms = list_arms(bench.plan)
    drawn = {one.kind: one.liked for one in placebos}

    def see(arm: Arm, material: Material) -> Look:
        liked = bench.rows.liked if arm.kind == REAL else drawn[arm.kind][arm.draw]
        return material.look(liked, bench.engine)

    answers = run_arms(bench, arms, see, bench.examine)
    gathered: dict[str, list[NDArray[np.float64]]] = {}
    for arm in arms:
        for name, forecast in answers[arm.name].items():
            gathered.setdefault(name, []).append(forecast)
    forecasts = {name: np.stack(found) for name, found in gathered.items()}
    return Trial(forecasts, tuple(one.check for one in placebos))


def list_arms(plan: Plan) -> list[Arm]:
    """Name the arms: real likes from every start, each placebo's draws from the starts in turn."""
    seeds = plan.audit.seeds
    real = [Arm(REAL, seed, seed) for seed in range(seeds)]
    return real + [Arm(kind, draw, draw % seeds) for kind in PLACEBOS for draw in range(plan.audit.placebos)]


def run_arms(
    bench: Bench,
    arms: list[Arm],
    see: Callable[[Arm, Material], Look],
    examine: Callable[[str, Look], Answers],
) -> dict[str, Answers]:
    """See the log as each arm does, or take its answers from the shelf.

    Parameters
    ----------
    bench : Bench
    arms : list of Arm
    see : callable of Arm and Material
        What an arm looks like.
    examine : callable of str and Look
        From a kind and what it looks like to answers.

    Returns
    -------
    dict of str to dict of str to ndarray
        By name of the arm.

    """
    found = {arm.name: kept for arm in arms if (kept := bench.shelf.load(arm.name)) is not None}
    progress = Progress(len(arms), len(found))

    def run(one: tuple[Arm, Future[Material]]) -> tuple[str, Answers]:
        arm, start = one
        answers = examine(arm.kind, see(arm, start.result()))
        bench.shelf.save(arm.name, answers)
        progress.tell(arm)
        return arm.name, answers

    with ThreadPoolExecutor(bench.threads) as pool:
        return found | dict(pool.map(run, _in_line(bench, list(_by_seed(arms, found)), pool)))


def _in_line(
    bench: Bench, groups: list[tuple[int, list[Arm]]], pool: ThreadPoolExecutor
) -> Iterator[tuple[Arm, Future[Material]]]:
    """Give each arm and its start; a start waits in line before the arms of the seed before, so that no arm waits."""
    starts = (pool.submit(_start, bench, seed) for seed, _ in groups)
    start = next(starts, None)
    for _, waiting in groups:
        following = next(starts, None)
        yield from ((arm, start) for arm in waiting if start)
        start = following


def _by_seed(arms: list[Arm], found: dict[str, Answers]) -> Iterator[tuple[int, list[Arm]]]:
    waiting = [arm for arm in arms if arm.name not in found]
    for seed in sorted({arm.seed for arm in waiting}):
        yield seed, [arm for arm in waiting if arm.seed == seed]


def _start(bench: Bench, seed: int) -> Material:
    if not seed:
        return bench.material
    return bench.material.start_again(seed_of(bench.plan, seed), bench.engine)
