"""Private files of the Spark engine: they, and `recsys.engines.spark`, alone import pyspark.

.. code-block:: text

    _session    settings                   -> the open session, or a new one
    _failures   what Spark says            -> the one line that matters
    _arrow      Spark's batches            <-> frames
    _stored     columns of a file          <-> columns that Spark carries without loss
    _files      paths or URLs              -> rows, numbered as in the log
    _rules      rows, some at a time       -> what breaks which rule, and what all rows are asked first
    _fold       events                     -> exposures
    _read       settings                   -> accepted rows, refused ones with reasons
    _log        what was read              -> SparkLog
    _als        user, item, strength       -> factors of users and items
    _records    SparkLog                   -> one record a user, at a cut
    _snapshots  records                    -> what everyone tells, and a snapshot of some users
    _rows       a snapshot                 <-> one row a user, and the rest
    _collect    records                    -> a snapshot of everyone
    _score      records, model             -> files of predictions
"""

import warnings

from recsys.errors import ConfigError

# It asks which pandas there is for every map over Arrow batches, and then does not use it.
warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)

try:
    import pyarrow  # noqa: F401
    import pyspark  # noqa: F401
except ModuleNotFoundError as error:
    raise ConfigError(
        f"model.engine = \"spark\" needs {error.name}, which is not installed: pip install 'recsys[spark]'"
    ) from None
