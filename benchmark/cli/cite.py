"""`cite`: BibTeX of what a result stands on."""

from __future__ import annotations

from typing import Annotated

import typer

from benchmark.cli.app import app


@app.command()
def cite(
    what: Annotated[
        str,
        typer.Argument(help="A model, `gnn+masked`, a dataset, a task, or the file of a record.", show_default=False),
    ],
) -> None:
    """Print BibTeX: the suite, and the papers of a model, its pretext, data and task."""
    from benchmark.reports.citations import bibliography

    print("\n\n".join(bibliography(what)))
