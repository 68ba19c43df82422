"""The card of a model that somebody submits: who made it, from what, and under which licence. TOML, one file a model.

A card says what no record can show. `leaderboards/models/<model>.toml` holds it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from benchmark.errors import ConfigError, RecordError, one_line, unknown_name
from benchmark.json_files import read_toml
from benchmark.records.schema import MAX_TEXT, UNSEEN

MAX_BYTES = 1 << 16
_MODEL = re.compile(r"\w[\w.+-]{0,99}")


@dataclass(frozen=True)
class Card:
    """A model's card. Fields marked with * have to be filled in; the others may be empty."""

    model: str  # * its name in records
    authors: tuple[str, ...]  # * people, in the order of a paper
    licence: str  # * of code and weights: an SPDX name, or "not public"
    pretraining_data: str  # * what it was pre-trained on, or "none"
    external_data: str  # * labelled data from elsewhere, or "none"
    contact: str  # * where questions go: an address of e-mail, or of a web page
    code: str = ""  # address of the code
    paper: str = ""  # arXiv:0000.00000, or a DOI
    hardware: str = ""  # what it was trained on, and for how long


REQUIRED = ("model", "authors", "licence", "pretraining_data", "external_data", "contact")


def card_path(folder: Path, model: str) -> Path:
    """`<folder>/models/<model>.toml`; folder: `leaderboards` of a checkout."""
    return folder / "models" / f"{model}.toml"


def read_card(path: Path) -> Card:
    """The card in a file. Raises RecordError for a file that is none, UnknownNameError for a field that is none."""
    try:
        values = read_toml(path, MAX_BYTES)
    except (OSError, ValueError) as error:
        raise RecordError(
            f"{path} is no card of a model ({one_line(error)}). A TOML file was expected. Correct it, or delete it and "
            f"type `python -m benchmark submit` again."
        ) from error
    names = [f.name for f in fields(Card)]
    for name in values:
        if name not in names:
            raise unknown_name(f"field in {path.name}", name, names, "Correct the file.")
    return made_card(values, str(path))


def made_card(values: Mapping[str, Any], where: str, remedy: str = "Fill them in.") -> Card:
    """The card with these values. Raises ConfigError, naming the field, for empty or wrong ones."""
    missing = [name for name in REQUIRED if not values.get(name)]
    if missing:
        raise ConfigError(f"{where} lacks {', '.join(missing)}. These fields of a model's card were expected. {remedy}")
    authors = values["authors"]
    if not isinstance(authors, list | tuple) or not all(isinstance(a, str) and a.strip() for a in authors):
        raise ConfigError(f'{where}: authors is no list of names. ["A. Author"] was expected. Correct it.')
    texts = {name: value for name, value in values.items() if name != "authors"}
    for name, value in (*texts.items(), *(("authors", a) for a in authors)):
        if not isinstance(value, str) or len(value) > MAX_TEXT or UNSEEN.search(value):
            raise ConfigError(f"{where}: {name} is no plain text. A line of letters was expected. Correct it.")
    if not _MODEL.fullmatch(values["model"]):
        raise ConfigError(
            f"{where}: model = {one_line(values['model'], 60)!r} is no name. That of its records was expected. Correct "
            f"it."
        )
    return Card(**{**texts, "authors": tuple(authors)})


def card_text(card: Card) -> str:
    """The card as TOML, each field with what it means."""
    notes = {
        "model": "its name in records", "authors": "people, in the order of a paper",
        "licence": "of code and weights: an SPDX name, or not public",
        "pretraining_data": "what it was pre-trained on, or none",
        "external_data": "labelled data from elsewhere, or none",
        "contact": "where questions go", "code": "address of the code", "paper": "arXiv:0000.00000, or a DOI",
        "hardware": "what it was trained on, and for how long",
    }  # fmt: skip
    lines = []
    for name, note in notes.items():
        value = getattr(card, name)
        lines.append(f"{name} = {_toml(list(value) if isinstance(value, tuple) else value)}  # {note}")
    return "\n".join(lines) + "\n"


def _toml(value: str | list[str]) -> str:
    """A text or a list of texts; JSON writes them as TOML reads them."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
