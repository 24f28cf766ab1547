"""What a head may know about a (user, item) pair at a cut.

A `Snapshot` holds everything that was known before one cut: factors of each signal, a table of effects, rates and
counts for each kind of entity (user, item, creator, category), whose last row is an entity never seen, and what
users make of creators and categories. The features of a pair are, in this order: rows of those tables side by side;
for each outcome, what the item, its creator and its category add to it together, then what this user makes of the
creator and of the category; a dot product a factorisation, and one for how like the item is to what the user liked
lately; the product of how the user presses lately and what the item adds.

Training and serving both call `Snapshot.pair_features`; nothing else makes features.

A head is fitted at one cut and serves at a later one, where every count and score has grown. So counts are
told relative to their mean at the cut, dot products in units of their typical score, and what happened lately in
weights that halve.

.. code-block:: text

    _names      what features are called, and which of them a head reads
    _rates      successes and trials                 -> shrunk log-odds
    _precision  successes, trials and means           -> how much entities differ
    _effects    who met what, and an outcome         -> what each entity adds, in log-odds
    _recency    the same, the latest weighing more
    _describe   the exposures before a cut           -> tables of entities
    _snapshot   what was known before a cut          -> features of pairs
    _carry      factors of an earlier snapshot     -> where those of now start
    _behaviour  a cut, apart from likes; and likes   -> Snapshot
    _take       a log and a cut                      -> Snapshot
    _crowd      what everyone together tells
    _kernels    rows of some users                   -> what is combined over all of them
    _gather     that, of everyone                    -> crowd
    _members    some users' rows and a crowd         -> their snapshot
    _words      a feature and its value              -> English
"""

from recsys.features._behaviour import Behaviour, observe_behaviour, spawn_seed
from recsys.features._crowd import Crowd
from recsys.features._describe import as_numbers
from recsys.features._effects import LINKS, Affinities, shrunk_effects
from recsys.features._gather import gather_crowd
from recsys.features._kernels import Holder, Kernel
from recsys.features._members import SumProducts, describe_members, find_typical_scores
from recsys.features._names import (
    COUNT,
    DOT,
    OF_CROWD,
    OF_HABIT,
    RATE,
    TASTE,
    evidence_of,
    reads,
    reads_likes,
)
from recsys.features._precision import fit_precision
from recsys.features._rates import fit_beta_binomial, shrunk_log_odds
from recsys.features._snapshot import Confidence, EntityTable, Pairs, Snapshot
from recsys.features._take import (
    NumberedLog,
    Snapshots,
    SnapshotSource,
    signal_strengths,
    usable_signals,
)
from recsys.features._words import put_in_words

__all__ = [
    "COUNT",
    "DOT",
    "LINKS",
    "OF_CROWD",
    "OF_HABIT",
    "RATE",
    "TASTE",
    "Affinities",
    "Behaviour",
    "Confidence",
    "Crowd",
    "EntityTable",
    "Holder",
    "Kernel",
    "NumberedLog",
    "Pairs",
    "Snapshot",
    "SnapshotSource",
    "Snapshots",
    "SumProducts",
    "as_numbers",
    "describe_members",
    "evidence_of",
    "find_typical_scores",
    "fit_beta_binomial",
    "fit_precision",
    "gather_crowd",
    "observe_behaviour",
    "put_in_words",
    "reads",
    "reads_likes",
    "shrunk_effects",
    "shrunk_log_odds",
    "signal_strengths",
    "spawn_seed",
    "usable_signals",
]
