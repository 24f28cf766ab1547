"""``recsys audit``: what the like button still adds."""

from __future__ import annotations

from typing import Annotated

import typer

from recsys_cli.options import Metered
from recsys_cli.show import print_result


def audit(
    shared: Metered,
    placebos: Annotated[
        int | None, typer.Option(min=2, help="Draws of each kind of placebo likes; 19 for final figures.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the finished arms of a killed audit.")
    ] = False,
) -> None:
    """Say whether past likes add anything that behaviour does not tell: OUT/audit."""
    from recsys import pipeline

    with shared.metered("audit") as done:
        job = shared.job("audit", audit={"placebos": placebos})
        print_result(done(pipeline.audit(job, resume)), shared.json)
