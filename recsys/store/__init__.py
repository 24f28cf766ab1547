"""Atomic publish, manifests, lock and retention: the only module that renames files.

.. code-block:: text

    OUT/runs/<id>/                what one run made; manifest.json, renamed into place last, is the commit
    OUT/predictions/as_of=DATE    relative links into a committed run, each flipped by renaming a new
    OUT/models/<version>          link over the old one, in the order the manifest gives
    OUT/models/current, OUT/evaluation, OUT/audit
    OUT/rejected/                 what a gate stopped last: the evaluation, `gates.json`; nothing links to it
    OUT/tuned.toml, OUT/tuning/   written in place by `recsys tune`, which publishes no run
    OUT/auditing/                 finished arms of an audit that is running, or was killed

A start finishes the flips of committed runs and sweeps the uncommitted ones, so a crash at any step ends
as all of the old or all of the new. A superseded run stays until the next publish: a reader in the middle
of a scan finishes it.
"""

from recsys.store._committed import describe_runs, find_run, list_runs, read_run_table
from recsys.store._files import lazily, sha256_of, to_parquet, write_file, write_table
from recsys.store._lock import locked
from recsys.store._manifest import model_manifest, model_version, read_manifest, verify_files
from recsys.store._open import Pruned, open_run, prune, rollback
from recsys.store._parts import Part, PartWriter
from recsys.store._published import check_days_kept, describe_link, published_types, recent_runs
from recsys.store._read import describe_model, list_models, read_model_files, read_predictions
from recsys.store._run import Run
from recsys.store._shelf import FileShelf
from recsys.store._verify import Verification, verify

__all__ = [
    "FileShelf",
    "Part",
    "PartWriter",
    "Pruned",
    "Run",
    "Verification",
    "check_days_kept",
    "describe_link",
    "describe_model",
    "describe_runs",
    "find_run",
    "lazily",
    "list_models",
    "list_runs",
    "locked",
    "model_manifest",
    "model_version",
    "open_run",
    "prune",
    "published_types",
    "read_manifest",
    "read_model_files",
    "read_predictions",
    "read_run_table",
    "recent_runs",
    "rollback",
    "sha256_of",
    "to_parquet",
    "verify",
    "verify_files",
    "write_file",
    "write_table",
]
