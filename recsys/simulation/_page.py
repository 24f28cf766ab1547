"""The texts beside a simulated log: settings that read it, and a page about what was planted."""

from __future__ import annotations

import shlex
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from recsys.simulation._orders import HIJACKED_SESSIONS, ORDERED_PRESS, PERSON, VISIT_SHARE
from recsys.simulation._outcomes import AFTER, FAN_BOND, HALF_WATCHED
from recsys.simulation._population import SYNTHETIC, SYNTHETIC_QUALITY
from recsys.simulation._sessions import CREATOR, EXPLORE, EXPLORE_SHARE, HOME, SURFACES
from recsys.simulation._truth import Truth
from recsys.simulation._world import LOG_STARTS, PRESETS, World

_SETTINGS = """\
# A simulated log, ready to run. What was planted in it is in README.md and truth/.

[events]
path = "events.parquet"       # relative to this file
signals = ["long_view"]       # recorded without a button; one factorisation each
outcomes = ["long_view", "follow", "share", "hide"]

[events.columns]              # role = column; user, item and time have their default names
like = "liked"
dwell = "dwell_seconds"
creator = "creator_id"
category = "category"
item_created_at = "item_created_at"

[windows]                     # lengths back from the end of the log
calibrate = "{window}"
test = "{window}"

[model]
factors = 16
iterations = 15
alpha = 10.0                  # confidence = 1 + alpha * r
regularization = 0.05

[output]
path = "out"
top_n = 20
"""
_README = """\
# A simulated log with known truth

Made by

    {command}

{exposures:,} exposures of {items:,} items to {users:,} users over {days} days. No person is behind any row.
Liked: {liked:.1%}. Long views: {long_view:.1%}. Follows: {follow:.2%}, shares: {share:.2%}, hides: {hide:.2%}.

## What was planted

- **Taste.** The utility of an item to a user is `taste · direction + quality`, in {taste_dims} dimensions.
  The first term has standard deviation {taste_spread:g} between users, quality {quality_spread:g} between items.
  Items keep to their creator's direction, creators to their category's.
- **Dwell** reads utility through noise, and is kept to 1 ms:
  `dwell_seconds = duration_seconds · expit(utility - {half:g} + {dwell_noise:g} · noise)`.
  A `long_view` is half of the item or more.
- **A press** follows dwell:
  `logit P = {intercept:.3f} + habit + {beta_dwell:g} · ln(1 + dwell_seconds){direct}`.
  {more}{knows}
  Habit is normal between users, with standard deviation {habit_spread:g}: the odds are log-normal.
- **Follow, share and hide** read utility, never dwell or the press:
  {after}.
- **The feed** is refreshed every six hours. It draws a category with odds `popularity · exp(policy_score)`, where
  `policy_score = {policy_taste:g} · taste · direction of the category`, then an item of it by popularity, and avoids
  what the account had seen by then. `propensity` is the probability of what it shows.
- **Sessions** start at any time, on the surface `{home}` or, {explores:.0%} of them, `{explore}`; neither that nor the
  position moves anything unless said below.
{planted}
## Files

- `events.parquet`: the log, one row an exposure, sorted by time.
- `recsys.toml`: settings that read it.
- `truth/exposures.parquet`, row by row beside the log: `utility`, `p_like_before` (dwell integrated out) and
  `p_long_view_before`, `p_like_given_dwell`, `acting_user_id` (who held the device), `is_spliced`,
  `is_synthetic` (the account was under control).
- `truth/users.parquet` and `truth/items.parquet`: taste, habit, quality and whatever else decides an outcome.
- `truth/world.json`: every knob, and the intercept found for them.

`recsys.read_truth({folder!r}).probabilities(pairs)` answers for any (user, item), shown or not: at the end of the log,
unless columns `timestamp`, `position`, `likes_shown` and `is_nudged` say otherwise.
"""
_PRESSED = ("accidental_likes", "herding", "position_bias", "nudge", "synthetic_likers")
_LOOKED_UP = {
    "burst": "the session nearest to one moment",
    "drip": "every session",
    "sparse": "their first exposure",
    "hijacked": f"{HIJACKED_SESSIONS:.0%} of their sessions, the others being a person's",
}
_PLANTED = {
    "accidental_likes": "**Accidents.** {accidental_likes:.0%} of the presses hit any exposure alike.",
    "herding": "**Herding.** `likes_shown`, as of the last refresh, adds `{herding:g} · (ln(1 + likes_shown) - usual)` "
    "to the log-odds of a press, where usual is the mean over what is published, by popularity.",
    "position_bias": "**Position.** The log-odds of a press lose `{position_bias:g} · ln(position)`.",
    "nudge": "**A prompt**, shown by a fair coin (`is_nudged`), adds {nudge:g} to the log-odds of a press.",
    "drift": "**Drift.** Every taste turns by {drift:g} radians a day, towards another one.",
    "spliced_sessions": "**Splices.** In {spliced_sessions:.0%} of the sessions another user holds the device.",
    "group_share": "**Groups.** {group_share:.0%} of the users are in `group_cohort` b, where the noise of dwell is "
    "{group_noise:g} times as large.",
    "policy_private": "**Moods.** Every session is in the mood for one category, which adds {policy_private:g} to its "
    "utility and to the feed's score. Of the log, only `policy_score` and `propensity` say which.",
    "feedback": "**Feedback.** The feed adds `{feedback:g} · ln(1 + the user's likes in the category)` to its score.",
    "epsilon": "**Random exposures.** {epsilon:.1%} are drawn alike from everything published (`is_random`).",
    "fandoms": "**Fandoms.** {fans:,} users are fans of one of {fandom_creators:,} creators: utility +{bond:g}, and "
    "they open its {premieres:,} premieres within a day (surface `{creator}`, no propensity).",
    "synthetic_likers": "**Presses by order.** {accounts:,} accounts look up {targets:,} ordered items in {looked_up}: "
    "in the first exposure and, unless sparse, in {visits:.0%} of the others. They press there with probability "
    "{press:g}, and {camouflage:g} times elsewhere for each such visit. `is_synthetic` marks all exposures of accounts "
    "under control.",
    "synthetic_creators": "**Machine-made items.** {machine_made:,} items have `provenance` {synthetic}, and "
    "{dullness:g} to their quality.",
}


def settings_text(world: World) -> str:
    """Write the recsys.toml of a simulated log.

    Parameters
    ----------
    world : World

    Returns
    -------
    str
    """
    days, hours = divmod(world.days * 24 * 3 // 14, 24)  # three days in fourteen
    return _SETTINGS.format(window=(f"{days}d" if days else "") + (f"{hours}h" if hours else ""))


def page_text(truth: Truth, rates: dict[str, float], folder: Path) -> str:
    """Write the README.md of a simulated log.

    Parameters
    ----------
    truth : Truth
    rates : dict of str to float
        Share of the exposures with each outcome.
    folder : Path
        As it was asked for.

    Returns
    -------
    str
    """
    world = truth.world
    after = (
        f"`logit P({what}) = {level:g} {'-' if slope < 0 else '+'} {abs(slope):g} · utility`"
        for what, (level, slope) in AFTER.items()
    )
    return _README.format(
        **asdict(world),
        **rates,
        command=_command(world, folder),
        folder=folder.as_posix(),
        half=HALF_WATCHED,
        intercept=truth.like_intercept,
        after=", ".join(after),
        home=SURFACES[HOME],
        explore=SURFACES[EXPLORE],
        explores=EXPLORE_SHARE,
        direct=f" + {world.beta_like:g} · utility" if world.beta_like else "",
        more="What is planted below adds to it. " if any(getattr(world, name) for name in _PRESSED) else "",
        knows="The last term is what a press tells of taste beyond user, dwell and display."
        if world.beta_like
        else "A press tells nothing of taste that user, dwell and display do not say.",
        planted="".join(_bullet(line) for line in _planted(truth)),
    )


def _planted(truth: Truth) -> list[str]:
    """Say what every knob that is not neutral does in this world."""
    users, items, world = truth.users, truth.items, truth.world
    fandoms = users["fan_of"].drop_nulls().unique()
    born = items.filter(
        pl.col("creator_id").is_in(fandoms.implode()), pl.col("item_created_at") >= LOG_STARTS
    )
    figures = {
        **asdict(world),
        "fans": users["fan_of"].count(),
        "fandom_creators": len(fandoms),
        "premieres": born.height,
        "bond": FAN_BOND,
        "creator": SURFACES[CREATOR],
        "accounts": users.filter(pl.col("account") != PERSON).height,
        "targets": items["is_target"].sum(),
        "looked_up": _LOOKED_UP[world.synthetic_pattern],
        "visits": VISIT_SHARE,
        "press": ORDERED_PRESS,
        "machine_made": items.filter(pl.col("provenance") == SYNTHETIC).height,
        "synthetic": SYNTHETIC,
        "dullness": SYNTHETIC_QUALITY,
    }
    return [text.format(**figures) for name, text in _PLANTED.items() if getattr(world, name)]


def _bullet(text: str) -> str:
    lines = textwrap.wrap(text, 116, break_long_words=False, break_on_hyphens=False)
    return "- " + "\n  ".join(lines) + "\n"


def _command(world: World, folder: Path) -> str:
    """Write the command that makes this world, from the preset that it is nearest to."""
    knobs = asdict(world)
    sizes = {name: knobs.pop(name) for name in ("exposures", "users", "items", "seed")}

    def turned(preset: str) -> dict[str, Any]:
        usual = asdict(World.preset(preset))
        return {name: value for name, value in knobs.items() if value != usual[name]}

    preset = min(PRESETS, key=lambda name: len(turned(name)))
    said = {**sizes, **turned(preset)}
    flags = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in said.items())
    return f"recsys simulate {shlex.quote(folder.as_posix())} --preset {preset} {flags} --overwrite"
