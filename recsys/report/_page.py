"""From a template and its values to a page."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from recsys.report._format import format_count, format_instant, format_interval, format_share, format_value


def fill_template(template: str, **values: Any) -> str:
    """Fill a template of this package; every text is escaped."""
    return _environment().get_template(template).render(**values)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("recsys.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": format_count,
        "instant": format_instant,
        "interval": format_interval,
        "share": format_share,
        "value": format_value,
    }
    return environment
