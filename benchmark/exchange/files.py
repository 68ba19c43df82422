"""Tables of events in files: .npz and .h5 (arrays by name), .csv and .parquet (a row for each point or event).

A file to read comes from a stranger. A process of its own with limits of time and memory unpacks it into plain arrays
(`benchmark.hardware.guarded`); nothing in it is executed.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.data.arrays import open_array
from benchmark.data.digests import permission_error
from benchmark.errors import BenchmarkError, DataError, unknown_name
from benchmark.exchange.spine import is_spine, spine_arrays
from benchmark.exchange.table import EVENT_ID, EVENT_IDS, EVENT_INDEX, OFFSETS, Table, by_event, checked
from benchmark.hardware.guarded import guarded
from benchmark.io import atomic_path
from benchmark.packages import missing_error, missing_package

ABOUT = "about"  # what a file says of itself: JSON
_ARRAYS = (EVENT_ID, EVENT_IDS, EVENT_INDEX, OFFSETS, ABOUT)
MOST_COLUMNS = 1000


def check_ending(path: Path) -> None:
    """Raises UnknownNameError for a file of another format, DataError where its package is missing."""
    if path.suffix not in FORMATS:
        raise unknown_name(
            "format of a table", path.suffix or path.name, FORMATS, "Give the file one of these endings."
        )
    if path.suffix == ".parquet" and missing_package("pyarrow"):
        raise missing_error("pyarrow", "A Parquet table")


def write_table(path: Path, table: Table) -> None:
    """Write a table atomically, in the format of the path's ending."""
    check_ending(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as partial:
        FORMATS[path.suffix][0](partial, table)


def read_table(path: Path) -> Table:
    """The table in a file. Raises DataError, with the cause, for a file that is anything else."""
    check_ending(path)
    if not path.is_file():
        raise DataError(f"There is no file {path}. A table of predictions was expected. Correct the path.")
    with tempfile.TemporaryDirectory() as folder:
        try:
            names = guarded(f"{__name__}:unpack", [str(path), folder], [path])
        except PermissionError as error:
            raise permission_error(path, "table", f"u+r {path}") from error
        texts = json.loads((Path(folder) / "texts.json").read_text(encoding="utf-8"))
        arrays = {name: np.array(open_array(Path(folder) / f"{i}.npy")) for i, name in enumerate(names)}
    return _as_table(path, arrays, texts)


def unpack(report: Callable[[int], object], path: str, folder: str) -> list[str]:
    """Task of `guarded`: write the arrays of a file as `0.npy`, `1.npy` ... and its texts as `texts.json`.

    Returns the names of the arrays. Raises DataError for a file that is damaged.
    """
    try:
        found = _grouped(path, FORMATS[Path(path).suffix][1](Path(path)))
        arrays = {name: values for name, values in found.items() if values.dtype.kind in "biuf"}
        texts = {name: _texts(path, name, values) for name, values in found.items() if name not in arrays}
    except (BenchmarkError, MemoryError):
        raise
    except Exception as error:  # damaged files raise any type of error
        raise DataError(
            f"{path} cannot be read: it is damaged, or not what its ending says. A whole table was expected. Write it "
            f"again."
        ) from error
    for i, values in enumerate(arrays.values()):
        np.save(Path(folder) / f"{i}.npy", values)
    (Path(folder) / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    return list(arrays)


def _grouped(path: str, found: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """The arrays of a file whose rows name their events, by event."""
    if EVENT_ID not in found:
        return found
    row_ids = np.array(_texts(path, EVENT_ID, found[EVENT_ID]), object)
    columns = {name: values for name, values in found.items() if name not in _ARRAYS}
    wrong = next((name for name, values in columns.items() if values.shape[:1] != row_ids.shape), None)
    if wrong is not None:
        raise DataError(
            f"{path}: `{wrong}` has the shape {columns[wrong].shape}, and `{EVENT_ID}` {len(row_ids)} rows. As many "
            f"were expected. Correct it."
        )
    return _arrays(by_event(row_ids, columns))


def _as_table(path: Path, arrays: Mapping[str, np.ndarray], texts: Mapping[str, list[str]]) -> Table:
    columns = {name: values for name, values in arrays.items() if name not in _ARRAYS}
    columns |= {name: np.array(values, object) for name, values in texts.items() if name not in _ARRAYS}
    numbers = arrays.get(EVENT_INDEX)
    if EVENT_IDS not in texts and numbers is not None:
        names = tuple(f"number {n}" for n in numbers.reshape(-1))
        return checked(str(path), Table(names, columns, arrays.get(OFFSETS), numbers=numbers.reshape(-1)))
    if EVENT_IDS not in texts:
        raise DataError(
            f"{path} does not say of which events it is: it holds {', '.join([*arrays, *texts]) or 'nothing'}. Texts "
            f"`{EVENT_IDS}`, one for each event, or `{EVENT_ID}`, one for each row, were expected. Add them."
        )
    return checked(str(path), Table(tuple(texts[EVENT_IDS]), columns, arrays.get(OFFSETS)))


def _texts(path: str, name: str, values: np.ndarray) -> list[str]:
    if values.ndim > 1 or values.dtype.kind not in "OSU":
        raise DataError(
            f"{path}: `{name}` holds {values.dtype} of shape {values.shape}. Numbers, or one text in each row, were "
            f"expected. Correct it."
        )
    return [v.decode("utf-8") if isinstance(v, bytes) else str(v) for v in values.reshape(-1)]


# ---- each format: write(path, table) and read(path) -> name -> array


def _arrays(table: Table) -> dict[str, np.ndarray]:
    offsets = {} if table.offsets is None else {OFFSETS: table.offsets}
    about = {ABOUT: np.array(json.dumps(dict(table.about), sort_keys=True))} if table.about else {}
    return {EVENT_IDS: np.array(table.event_ids, str), **offsets, **table.columns, **about}


def _write_npz(path: Path, table: Table) -> None:
    with path.open("wb") as stream:
        np.savez(stream, **_arrays(table))  # type: ignore[arg-type]


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files[:MOST_COLUMNS]}


def _write_hdf5(path: Path, table: Table) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        for name, values in _arrays(table).items():
            is_text = values.dtype.kind == "U"
            data = values.astype(object) if is_text else values
            packed = {"compression": "gzip", "shuffle": True} if values.ndim and values.size and not is_text else {}
            file.create_dataset(name, data=data, dtype=h5py.string_dtype() if is_text else None, **packed)


def _read_hdf5(path: Path) -> dict[str, np.ndarray]:
    import h5py

    from benchmark.data.hdf5 import check_filters, check_inside, open_hdf5_file

    found: dict[str, np.ndarray] = {}
    with open_hdf5_file(path) as file:
        for name in ("info", "events", "products"):
            check_inside(path, file, name)
        if is_spine(file):
            return spine_arrays(file)
        for name in sorted(file)[:MOST_COLUMNS]:
            check_inside(path, file, name)
            data = file[name]
            if isinstance(data, h5py.Dataset):
                check_filters(path, data)
                found[name] = np.asarray(data[()])
    return found


def _frame(table: Table) -> Any:
    import pandas as pd

    columns: dict[str, np.ndarray] = {EVENT_ID: table.row_ids()}
    for name, values in table.columns.items():
        if values.ndim > 2:
            raise DataError(
                f"Volumes of shape {values.shape[1:]} do not fit a row of a table. A file .npz or .h5 was expected. "
                f"Give --out another ending."
            )
        many = {f"{name}_{i}": values[:, i] for i in range(values.shape[1])} if values.ndim == 2 else {name: values}
        columns |= many
    return pd.DataFrame(columns)


def _write_csv(path: Path, table: Table) -> None:
    _frame(table).to_csv(path, index=False)


def _read_csv(path: Path) -> dict[str, np.ndarray]:
    import pandas as pd

    frame = pd.read_csv(
        path, dtype={EVENT_ID: str}, keep_default_na=False, na_values=["nan", "NaN"], encoding="utf-8",
        float_precision="round_trip",
    )  # fmt: skip
    return _frame_arrays(frame)


def _write_parquet(path: Path, table: Table) -> None:
    _frame(table).to_parquet(path, index=False)


def _read_parquet(path: Path) -> dict[str, np.ndarray]:
    import pandas as pd

    return _frame_arrays(pd.read_parquet(path, engine="pyarrow"))


def _frame_arrays(frame: Any) -> dict[str, np.ndarray]:
    return {str(name): frame[name].to_numpy() for name in list(frame.columns)[:MOST_COLUMNS]}


FORMATS: dict[str, tuple[Callable[[Path, Table], None], Callable[[Path], dict[str, np.ndarray]]]] = {
    ".npz": (_write_npz, _read_npz),
    ".h5": (_write_hdf5, _read_hdf5),
    ".csv": (_write_csv, _read_csv),
    ".parquet": (_write_parquet, _read_parquet),
}
