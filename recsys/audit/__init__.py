"""What an explicit like button adds to prediction, with honest uncertainty."""

from recsys.audit._result import (
    PIECES,
    PLACEBOS,
    PRIMARY_PLACEBO,
    Audit,
    Control,
    Dose,
    ExchangeRate,
    KnownBefore,
    Lift,
    Missing,
    PlaceboCheck,
    ResidualPress,
    Rung,
    Verdict,
)

__all__ = [
    "PIECES",
    "PLACEBOS",
    "PRIMARY_PLACEBO",
    "Audit",
    "Control",
    "Dose",
    "ExchangeRate",
    "KnownBefore",
    "Lift",
    "Missing",
    "PlaceboCheck",
    "ResidualPress",
    "Rung",
    "Verdict",
]
