"""The report of the like-button audit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recsys.audit import Audit
from recsys.report import _sections_audit as _sections
from recsys.report import _words_audit as _words
from recsys.report._page import fill_template
from recsys.report._parts import list_pairs
from recsys.report._sections import settings_table


def render_audit(audit: Audit, about: Mapping[str, Any], settings: Mapping[str, Any] | None = None) -> str:
    """Write the audit as one HTML file without network access.

    Parameters
    ----------
    audit : Audit
    about : mapping of str to value
        What it was made from, as name and text.
    settings : mapping of str to value, optional
        Of the whole run, nested, as plain values; the audit has its own.

    Returns
    -------
    str
        HTML. Every text of the user's is escaped.

    """
    return fill_template(
        "audit.html",
        audit=audit,
        headline=_words.headline_audit(audit),
        repeat=_words.sentences_to_repeat(audit),
        figures=_sections.audit_figures(audit),
        segments=_sections.lift_segment_figures(audit),
        **_say(audit),
        **_tabulate(audit),
        fixed=settings_table(audit.settings, "Fixed before scoring") if audit.settings else None,
        settings=settings_table(settings, "Settings of the run") if settings else None,
        about=list_pairs("This run", ("what", "value"), about.items()),
    )


def _say(audit: Audit) -> dict[str, Any]:
    return {
        "verdict_words": _words.say_verdict(audit),
        "dose_words": _words.say_doses(audit),
        "worth_words": _words.sentences_to_repeat(audit)[2],
        "residual_words": _words.say_residual(audit),
        "controls_words": _words.say_controls(audit),
        "placebo_words": _words.say_placebos(audit.placebos, audit.verdict.given),
        "segment_words": [*_words.say_segments(audit), *_sections.lone_segments(audit)],
        "missing": _words.say_missing(audit.missing),
        "cannot_claim": _words.CANNOT_CLAIM,
    }


def _tabulate(audit: Audit) -> dict[str, Any]:
    return {
        "verdict_table": _sections.verdict_table(audit),
        "outcomes": _sections.outcomes_table(audit),
        "controls": _sections.controls_table(audit),
        "placebos": _sections.placebos_table(audit),
        "windows": _sections.windows_table(audit),
        "rows": _sections.rows_table(audit),
    }
