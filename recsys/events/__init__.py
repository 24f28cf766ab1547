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
    _accept     a log, or a part of one    -> its rows held against the rules
    _read       duplicates, labels, as-of  -> EventLog
    _fold       one row an event           -> one row an exposure
    _exposures  unique rows                -> labelled exposures, counts
    _profile    EventLog                   -> figures a person can read
    _guess      names and values           -> roles, probably
    _propose    a log nobody described yet -> a commented recsys.toml
"""

from recsys.events._accept import Accepted, accept_rows, label_exposures
from recsys.events._exposures import (
    MOST_TYPES,
    ReadCounts,
    Tally,
    count_rows,
    expose,
    require_views,
    tell_positives,
)
from recsys.events._profile import LogSize, describe, measure, profile
from recsys.events._propose import propose_config
from recsys.events._read import (
    KEY,
    EventLog,
    chosen,
    end_of,
    read,
    read_events,
)
from recsys.events._refuse import check_share, count_reasons, describe_refused
from recsys.events._roles import EVENT_TYPE, VIEW, Roles, columns_read
from recsys.events._sources import (
    Source,
    folder_values,
    format_of,
    open_source,
    read_table,
    reading,
    scan_file,
    undisturbed,
)
from recsys.events._totals import HIGH, LOW

__all__ = [
    "EVENT_TYPE",
    "HIGH",
    "KEY",
    "LOW",
    "MOST_TYPES",
    "VIEW",
    "Accepted",
    "EventLog",
    "LogSize",
    "ReadCounts",
    "Roles",
    "Source",
    "Tally",
    "accept_rows",
    "check_share",
    "chosen",
    "columns_read",
    "count_reasons",
    "count_rows",
    "describe",
    "describe_refused",
    "end_of",
    "expose",
    "folder_values",
    "format_of",
    "label_exposures",
    "measure",
    "open_source",
    "profile",
    "propose_config",
    "read",
    "read_events",
    "read_table",
    "reading",
    "require_views",
    "scan_file",
    "tell_positives",
    "undisturbed",
]
