"""``recsys doctor``: this machine, and what a log will need."""

from __future__ import annotations

from recsys_cli.options import Shared
from recsys_cli.show import print_json, print_table


def doctor(shared: Shared) -> None:
    """Look at this machine, and forecast the memory a log will need."""
    from recsys import pipeline

    found = pipeline.diagnose(shared.job("doctor").settings)
    if shared.json:
        print_json(found)
        return
    libraries = found.pop("libraries")
    lines = [
        (key, ", ".join(value) if isinstance(value, list) else str(value)) for key, value in found.items()
    ]
    lines += [(name, version or "not installed") for name, version in libraries.items()]
    print_table(("what", "found"), lines)
