"""Output files of SPINE (`io.writer.name: hdf5`): class scores of points, event by event.

Two layouts, as SPINE 1.4.3 writes them: format version 1 keeps a table `events` of region references, version 2 a group
`products` with offsets. Read are `segmentation` (N, C), the network's scores, and `index`, the number of each event in
the file that SPINE read. Points have to be in the order of that file.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmark.errors import DataError
from benchmark.exchange.table import EVENT_INDEX, OFFSETS

FORMAT = "spine_hdf5"
SEGMENTATION, INDEX = "segmentation", "index"


def is_spine(file: Any) -> bool:
    """Whether an open HDF5 file is one of SPINE's."""
    return "info" in file and file["info"].attrs.get("format") == FORMAT


def spine_arrays(file: Any) -> dict[str, np.ndarray]:
    """Scores, offsets and numbers of events. Raises DataError for a file without them."""
    names = sorted(file["products"]) if "products" in file else list(file["events"].dtype.names or ())
    missing = next((name for name in (SEGMENTATION, INDEX) if name not in names), None)
    if missing is not None:
        raise DataError(
            f"{file.filename}: SPINE's output holds {', '.join(names) or 'nothing'}. `{missing}` was expected. Add it "
            f"to the `keys` of its writer."
        )
    read = _of_products if "products" in file else _of_references
    scores, offsets = read(file, SEGMENTATION)
    index, _ = read(file, INDEX)
    return {"scores": scores, OFFSETS: offsets, EVENT_INDEX: index.reshape(-1)}


def _of_products(file: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Values and offsets of a product, format version 2."""
    product = file["products"][name]
    return np.asarray(product["values"][()]), np.asarray(product["event_offsets"][()], np.int64)


def _of_references(file: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The same of format version 1: each event refers to consecutive rows, in order."""
    import h5py

    values = np.asarray(file[name][()])
    ends = [0]
    for reference in file["events"][name]:
        n_rows = h5py.h5r.get_region(reference, file.id).get_select_npoints() // max(1, int(np.prod(values.shape[1:])))
        ends.append(ends[-1] + int(n_rows))
    return values, np.array(ends, np.int64)
