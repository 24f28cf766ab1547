"""Private files of the Spark engine: they, and `recsys.engines.spark`, alone import pyspark.

.. code-block:: text

    _java       this machine               -> the Java that Spark would run on
    _session    settings                   -> the open session, or a new one
    _als        user, item, strength       -> factors of users and items
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
