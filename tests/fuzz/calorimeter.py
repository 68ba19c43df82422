"""MLTree's tables as .npy and .root files, and the geometry."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.datasets import _mltree_npy
from builders.calo_files import altered, make_geometry, pions, without, write_root
from fuzz.arrays import headers, laughs, objects
from fuzz.events import every_event
from fuzz.mutations import NUMBERS, TEXTS, WHOLE, Rng, pick
from fuzz.reader import Change, Reader

SAMPLES = ("cluster", "track")
TABLES = ("events", "truth", "tracks", "clusters", "cells")


def _tables() -> tuple[Any, Any]:
    rng = np.random.default_rng(2)
    geo = make_geometry(rng)
    return geo, pions(rng, geo, 4)


def make_npy(folder: Path) -> None:
    geo, tree = _tables()
    _mltree_npy.write_geometry(folder / "data" / "cell_geo.npy", geo)
    _mltree_npy.write_tree(folder / "data" / "test" / "pions_0000.npy", tree)


def _make_root(folder: Path) -> None:
    geo, tree = _tables()
    write_root(folder / "data" / "cell_geo.root", None, geo)
    write_root(folder / "data" / "test" / "pions_0000.root", tree)


def read(folder: Path) -> object:
    return every_event("atlas-pions", folder, samples=SAMPLES)


def branches(path: Path, rng: Rng) -> None:
    """One branch of the dictionary: absent, of another type, length, depth or value."""
    content = dict(np.load(path, allow_pickle=True).item())
    name = pick(rng, sorted(content))
    what = int(rng.integers(7))
    if what == 0:
        del content[name]
    elif what == 1:
        content[name] = pick(
            rng, (*WHOLE, *TEXTS[:4], 3, laughs(), np.zeros((3, 0)), content[pick(rng, sorted(content))])
        )
    elif what == 2:
        content[pick(rng, (7, None, b"x", ("a",), "new"))] = content[name]
    else:
        content[name] = _changed(content[name], rng, what)
    boxed = np.empty((), dtype=object)
    boxed[()] = content
    np.save(path, boxed, allow_pickle=True)


def _changed(node: Any, rng: Rng, what: int) -> Any:
    """A nested list in which one entry, at some depth, is another."""
    entries = list(node)
    if not entries:
        return [pick(rng, NUMBERS)]
    at = int(rng.integers(len(entries)))
    inside = entries[at]
    if (isinstance(inside, list) or getattr(inside, "ndim", 0)) and rng.random() < 0.7:
        entries[at] = _changed(inside, rng, what)
    elif what == 3:
        del entries[at]
    elif what == 4:
        entries.append(inside)
    elif what == 5:
        entries[at] = pick(rng, (*WHOLE, "text", [inside], np.array(["a"]), np.array([None]), laughs(20)))
    else:
        entries[at] = pick(rng, NUMBERS)
    return entries


def tables(path: Path, rng: Rng) -> None:
    """A ROOT file with one value or branch changed, or with a branch left out."""
    geo, tree = _tables()
    if path.name.startswith("cell_geo"):
        changed = dict(vars(geo))
        name = pick(rng, sorted(changed))
        changed[name] = changed[name].copy()
        changed[name].reshape(-1)[int(rng.integers(changed[name].size))] = _number(changed[name], rng)
        write_root(path, None, type(geo)(**changed))
        return
    table = pick(rng, TABLES)
    branch = pick(rng, sorted(getattr(tree, table)))
    if rng.random() < 0.3:
        write_root(path, without(tree, table, branch))
        return
    column = getattr(tree, table)[branch]
    write_root(path, altered(tree, table, branch, int(rng.integers(len(column))), _number(column, rng)))


def _number(column: np.ndarray, rng: Rng) -> float:
    with np.errstate(all="ignore"):
        return (
            float(np.clip(float(min(pick(rng, NUMBERS), 1e308)), -1e18, 1e18))
            if column.dtype.kind == "f"
            else int(pick(rng, (-1, 0, 1, 10**9, -(10**12), 2**62)))
        )


NPY: Mapping[str, Change] = {"headers": headers, "pickles": objects, "branches": branches}
READERS = (
    Reader("mltree-npy", make_npy, "data/test/*.npy", read, NPY),
    Reader("mltree-npy-geometry", make_npy, "data/cell_geo.npy", read, NPY),
    Reader("mltree-root", _make_root, "data/test/*.root", read, {"tables": tables}),
    Reader("mltree-root-geometry", _make_root, "data/cell_geo.root", read, {"tables": tables}),
)
