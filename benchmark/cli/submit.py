"""`submit`: records and a model's card on a branch that is ready to be pushed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.app import app, console


@app.command()
def submit(
    records: Annotated[list[Path], typer.Argument(help="Files of finished records of one model.", show_default=False)],
    author: Annotated[
        list[str] | None, typer.Option("--author", help="Of the card: a name. Repeatable, in the order of a paper.")
    ] = None,
    licence: Annotated[str, typer.Option(help="Of the card: of code and weights, or `not public`.")] = "",
    pretraining_data: Annotated[str, typer.Option(help="Of the card: what it was pre-trained on, or `none`.")] = "",
    external_data: Annotated[str, typer.Option(help="Of the card: labelled data from elsewhere, or `none`.")] = "",
    contact: Annotated[str, typer.Option(help="Of the card: where questions go.")] = "",
    code: Annotated[str, typer.Option(help="Of the card: address of the code.")] = "",
    paper: Annotated[str, typer.Option(help="Of the card: arXiv number or DOI.")] = "",
    hardware: Annotated[str, typer.Option(help="Of the card: what it was trained on, and for how long.")] = "",
    repository: Annotated[Path, typer.Option(help="The checkout of particlebench.")] = Path(),
) -> None:
    """Check records and put them on a branch, with the card of a model that is none of the suite's.

    Your own files and branch stay as they are, and nothing is sent: what to push is printed.
    """
    from benchmark.verification.submit import submit

    fields = {
        "authors": author or [], "licence": licence, "pretraining_data": pretraining_data,
        "external_data": external_data, "contact": contact, "code": code, "paper": paper, "hardware": hardware,
    }  # fmt: skip
    done = submit(records, fields, repository)
    screen = console()
    for path in done.files:
        screen.print(f"on the branch: {path}", soft_wrap=True, highlight=False)
    for note in done.notes:
        screen.print(f"note: {note}", soft_wrap=True, highlight=False)
    screen.print(f"now type: git push origin {done.branch}", soft_wrap=True, highlight=False)
    screen.print("and open a pull request from it", soft_wrap=True, highlight=False)
