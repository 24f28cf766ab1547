"""Settings: one frozen class per stage, read from recsys.toml.

Command-line options beat environment variables (``RECSYS_MODEL__FACTORS=32``) beat the file. A name in
the environment is a setting only if it holds ``__``. Whatever is not a setting is refused with the
nearest right one.

.. code-block:: text

    _times      lengths and instants, as text
    _sections   one frozen class per stage
    _sources    file, environment and command line -> settings
"""

from __future__ import annotations

from recsys.config._sections import (
    AuditSettings,
    Columns,
    EvaluationSettings,
    EventsSettings,
    GatesSettings,
    ModelSettings,
    OutputSettings,
    Settings,
    SparkSettings,
    WindowsSettings,
)
from recsys.config._sources import CONFIG_NAME, ENV_PREFIX, build_settings, load_settings
from recsys.config._times import parse_duration

__all__ = [
    "CONFIG_NAME",
    "ENV_PREFIX",
    "AuditSettings",
    "Columns",
    "EvaluationSettings",
    "EventsSettings",
    "GatesSettings",
    "ModelSettings",
    "OutputSettings",
    "Settings",
    "SparkSettings",
    "WindowsSettings",
    "build_settings",
    "load_settings",
    "parse_duration",
]
