"""Predictions that other frameworks made, in every format, and the cards of models."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from benchmark import tasks
from benchmark.exchange import predictions
from benchmark.exchange.files import read_table, write_table
from benchmark.exchange.table import Table
from benchmark.records.card import card_text, made_card, read_card
from fuzz.arrays import NPZ
from fuzz.mutations import Rng, pick
from fuzz.reader import Reader
from fuzz.records import csv_line, toml_values

TASK = tasks.task("lartpc-segmentation")
IDS = tuple(f"test/generic_v2_3_v2:{i:07d}" for i in range(3))
LENGTHS = np.array([0, 40, 90, 120])


def _make(folder: Path, ending: str) -> None:
    rng = np.random.default_rng(0)
    columns = {name: rng.integers(0, 768, LENGTHS[-1]).astype(np.float32) for name in "xyz"}
    scores = rng.normal(size=(LENGTHS[-1], TASK.n_outputs)).astype(np.float32)
    columns |= {f"score_{name}": scores[:, i] for i, name in enumerate(TASK.classes)}
    write_table(folder / f"predictions{ending}", Table(IDS, columns, LENGTHS))


def _make_spine(folder: Path, version: int) -> None:
    """As SPINE's writer does, which need not be installed."""
    scores = np.random.default_rng(0).normal(size=(LENGTHS[-1], TASK.n_outputs)).astype(np.float32)
    with h5py.File(folder / "predictions.h5", "w") as file:
        file.create_group("info").attrs.update({"format": "spine_hdf5", "format_version": version})
        values = {"index": (np.arange(3), np.arange(4)), "segmentation": (scores, LENGTHS)}
        if version == 2:
            for name, (data, offsets) in values.items():
                group = file.create_group(f"products/{name}")
                group["values"], group["event_offsets"] = data, offsets
            return
        for name, (data, _) in values.items():
            file[name] = data
        table = np.empty(3, [(name, h5py.regionref_dtype) for name in values])
        for name, (_, offsets) in values.items():
            for i in range(3):
                table[name][i] = file[name].regionref[offsets[i] : offsets[i + 1]]
        file["events"] = table


def _read(folder: Path, ending: str) -> Any:
    table = read_table(folder / f"predictions{ending}")
    values, has_scores = predictions._values(table, TASK)
    predictions._check_finite(table, values)
    offsets = None if table.offsets is None else np.asarray(table.offsets, np.int64)
    return {"ids": list(table.event_ids), "offsets": offsets, "values": np.asarray(values, float), "scores": has_scores}


def datasets(path: Path, rng: Rng) -> None:
    """An array of another type or size, one that claims what is not there or lies elsewhere, or a group."""
    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        name = pick(rng, sorted(names))
        held = file[name]
        what, n = int(rng.integers(7)), len(held)
        many = pick(rng, (10**6, 10**9, 10**12))
        del file[name]
        if what == 0:
            file[name] = np.zeros(n, pick(rng, ("<i8", "<f8", "|b1", "<u1")))
        elif what == 1:
            file.create_dataset(name, (many,), "f4", chunks=(4096,), compression="gzip")
        elif what == 2:
            file.create_dataset(name, (many, 4), "f4", chunks=(4096, 4))
        elif what == 3:
            file[name] = h5py.ExternalLink("/etc/passwd", "x")
        elif what == 4:
            file[name] = h5py.SoftLink(f"/{name}")
        elif what == 5:
            file.create_group(name)
        else:
            file[name] = np.array([b"\xff" * 9] * n, "S9")


def _make_card(folder: Path) -> None:
    fields = {
        "model": "my_net", "authors": ["A. Author"], "licence": "MIT", "pretraining_data": "none",
        "external_data": "none", "contact": "a@example.org",
    }  # fmt: skip
    (folder / "my_net.toml").write_text(card_text(made_card(fields, "card")), encoding="utf-8")


def _read_card(folder: Path) -> Any:
    return dataclasses.asdict(read_card(folder / "my_net.toml"))


def _reader(ending: str, **others: Any) -> Reader:
    return Reader(
        f"predictions-{ending[1:]}", partial(_make, ending=ending), f"predictions{ending}",
        partial(_read, ending=ending), **others,
    )  # fmt: skip


READERS = (
    _reader(".npz", changes=NPZ),
    _reader(".h5", changes={"claims": datasets}),
    _reader(".csv", changes={"values": csv_line}, is_text=True),
    _reader(".parquet"),
    *(
        Reader(f"predictions-spine-{v}", partial(_make_spine, version=v), "predictions.h5",
               partial(_read, ending=".h5"), {"claims": datasets})
        for v in (1, 2)
    ),
    Reader("card", _make_card, "my_net.toml", _read_card, {"values": toml_values}, is_text=True),
)  # fmt: skip
