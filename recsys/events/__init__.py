"""Read a log of who was shown what: accepted exposures, and refused rows with their reasons.

.. code-block:: text

    _totals     all rows, wherever they lie -> figures that decide
    _text       strings of a CSV           -> what they stand for
    _panics     a reader that panics      -> one line
    _sources    path, glob, folder, frame  -> lazy rows
    _times      datetimes, epochs, text    -> instants, before as_of
    _roles      columns and SQL            -> one column a role
    _parse      values as stored           -> canonical types
    _refuse     rules                      -> accepted rows, refused rows with reasons
    _read       duplicates, labels, as-of  -> EventLog
    _fold       one row an event           -> one row an exposure
    _profile    EventLog                   -> figures a person can read
    _guess      names and values           -> roles, probably
    _propose    a log nobody described yet -> a commented recsys.toml
"""

from recsys.events._profile import LogSize, describe, measure, profile
from recsys.events._propose import propose_config
from recsys.events._read import EventLog, ReadCounts, read, read_events
from recsys.events._sources import read_table

__all__ = [
    "EventLog",
    "LogSize",
    "ReadCounts",
    "describe",
    "measure",
    "profile",
    "propose_config",
    "read",
    "read_events",
    "read_table",
]
