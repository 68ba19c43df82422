"""MLTree's tables from ROOT files: trees `EventTree` and `CellGeo`, as TTree or as RNTuple, read without ROOT.

uproot is imported in this file only. Vectors of vectors (cells of clusters) and vectors of those (hits of cells) become
flat columns with counts. Large files are read in steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.errors import DataError
from benchmark.packages import missing_error

from ._mltree import CellGeo, MLTree
from ._mltree_check import REMEDY, Jagged, assemble, concatenated, known, require
from ._mltree_npy import geometry_of

EVENTS, GEOMETRY = "EventTree", "CellGeo"
STEP = "100 MB"  # of uncompressed data, read at a time


def read_tree(path: Path) -> MLTree:
    """The events of a whole file in memory. Raises DataError."""
    return concatenated(list(read_trees(path)))


def read_trees(path: Path, step: str | int = STEP) -> Iterator[MLTree]:
    """The events of a file in chunks of `step` (size of data, or number of events).

    Unknown branches are not read. Raises DataError for missing or damaged data.
    """
    with _open_tree(path, EVENTS) as tree:
        depths = known(str(name) for name in tree.keys(recursive=False))
        require(depths, str(path))
        first = 0
        for arrays in tree.iterate(filter_name=list(depths), step_size=step):
            where = f"{path} (counted from event {first})" if first else str(path)
            yield assemble({name: flattened(arrays[name], d, name, path) for name, d in depths.items()}, where)
            first += len(arrays)
        if not first:
            raise DataError(f"{path} has no events in {EVENTS}. At least one was expected. {REMEDY}, or remove it.")


def read_geometry(path: Path) -> CellGeo:
    """The geometry, from the first entry of the tree CellGeo. Raises DataError."""
    with _open_tree(path, GEOMETRY) as tree:
        names = [str(name) for name in tree.keys(recursive=False) if str(name).startswith("cell_geo_")]
        arrays = tree.arrays(filter_name=names, entry_stop=1)
        columns = {name: flattened(arrays[name], 1, name, path).values for name in names}
    return geometry_of(columns, str(path))


def flattened(array: Any, depth: int, name: str, path: Path) -> Jagged:
    """A jagged array of awkward as its numbers and the counts of each level. Raises DataError for another depth."""
    import awkward

    if array.ndim != depth + 1 or "?" in str(array.type):
        raise DataError(
            f"{path}: {name} has the type {array.type}. Numbers in {depth} levels of vectors per event were expected. "
            f"{REMEDY}."
        )
    counts = []
    for _ in range(depth):
        counts.append(np.asarray(awkward.num(array, axis=1), dtype=np.int64))
        array = awkward.flatten(array, axis=1)
    return Jagged(np.asarray(array), tuple(counts))


@contextmanager
def _open_tree(path: Path, name: str) -> Iterator[Any]:
    """A tree, readable inside the block; any uproot error there becomes a DataError."""
    uproot = _uproot()
    try:
        with uproot.open(path) as file:
            present = sorted({str(key).split(";")[0] for key in file.keys(recursive=False)})
            if name not in present:
                raise DataError(
                    f"{path} has no tree {name}; it has {', '.join(present) or 'none'}. A file of MLTree was expected. "
                    f"{'Put its cell_geo file beside it' if name == GEOMETRY else 'Check which file it is'}."
                )
            yield file[name]
    except (DataError, MemoryError):
        raise
    except Exception as error:  # damaged files raise any type of error
        raise _damage_error(path, error) from error


def _damage_error(path: Path, error: Exception) -> DataError:
    if isinstance(error, OSError) and error.strerror:
        problem = f"cannot be read: {error.strerror}"
    else:
        problem = "is a ROOT file that is cut off or damaged" if _has_magic(path) else "is no ROOT file"
    return DataError(f"{path} {problem}. A whole file of MLTree was expected. {REMEDY}.")


def _has_magic(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(4) == b"root"


def _uproot() -> Any:
    try:
        import uproot
    except ImportError as error:
        raise missing_error("uproot", "Reading .root files") from error
    return uproot
