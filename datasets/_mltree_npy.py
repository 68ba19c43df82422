"""MLTree's tables as `.npy` dictionaries: a pickled dictionary of lists under the branch names, as gn4pions reads them.

Per event branches are lists of numbers, per object branches lists of lists, per cell branches lists of lists of arrays
(hits: of arrays of 3 per cell). Pickles can execute code, so files are read without numpy's unpickler: plain
containers, numbers, strings and arrays of numbers are rebuilt here, and any other name in a file is an error.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from benchmark.errors import DataError
from benchmark.io import atomic_path

from ._mltree import NEIGHBOURS, CellGeo, MLTree
from ._mltree_check import COUNTS, REMEDY, Jagged, assemble, known, require

# branch of the geometry -> field of CellGeo and its type
GEOMETRY: Mapping[str, tuple[str, type]] = {
    "cell_geo_ID": ("cell_id", np.int64), "cell_geo_sampling": ("sampling", np.int64),
    "cell_geo_eta": ("eta", np.float32), "cell_geo_phi": ("phi", np.float32),
    "cell_geo_rPerp": ("r_perp_mm", np.float32), "cell_geo_deta": ("deta", np.float32),
    "cell_geo_dphi": ("dphi", np.float32), "cell_geo_volume": ("volume_mm3", np.float32),
    "cell_geo_sigma": ("sigma_gev", np.float32),
}  # fmt: skip
_NEIGHBOUR_BRANCHES = tuple(f"cell_geo_{name}" for name in NEIGHBOURS)
_NUMBERS = "biuf"  # kinds of numpy types that branches have


def write_tree(path: Path, tree: MLTree) -> None:
    """Write the events to a `.npy` file, whole or not at all. RecordError where the folder cannot be written."""
    content: dict[str, Any] = {name: values.tolist() for name, values in tree.events.items()}
    for branch, table in COUNTS.items():
        counts = getattr(tree, f"n_{table}")
        content[branch] = counts.tolist()
        for name, values in getattr(tree, table).items():
            content[name] = _split(values.tolist(), counts)
    for name, values in (*tree.cells.items(), *tree.hits.items()):
        content[name] = _split(_split(values, tree.n_cells), tree.n_clusters)
    _save(path, content)


def write_geometry(path: Path, geo: CellGeo) -> None:
    """Write the geometry to a `.npy` file: one entry, as in the tree CellGeo. RecordError as above."""
    content = {branch: [getattr(geo, field)] for branch, (field, _) in GEOMETRY.items()}
    content |= {branch: [geo.neighbours[:, k]] for k, branch in enumerate(_NEIGHBOUR_BRANCHES)}
    _save(path, content)


def read_tree(path: Path) -> MLTree:
    """The events of a `.npy` file; unknown branches are ignored. Raises DataError."""
    content = _load(path)
    require(content, str(path))
    branches: dict[str, Jagged] = {}
    for name, depth in known(content).items():
        try:
            branches[name] = _read_jagged(content[name], depth)
        except (TypeError, ValueError, IndexError, OverflowError) as error:
            expected = "Lists of numbers per event" + (", per cluster" if depth > 1 else "")
            problem = f"{path}: {name} is damaged ({_reason(error, 'its lists do not fit')})"
            raise DataError(f"{problem}. {expected} were expected. {REMEDY}.") from error
    return assemble(branches, str(path))


def read_geometry(path: Path) -> CellGeo:
    """The geometry of a `.npy` file, as one entry or as plain columns. Raises DataError."""
    content = _load(path)
    return geometry_of(
        {name: _flatten_column(content[name], path, name) for name in content if name in _GEO_BRANCHES}, str(path)
    )


_GEO_BRANCHES = (*GEOMETRY, *_NEIGHBOUR_BRANCHES)


def geometry_of(columns: Mapping[str, np.ndarray], where: str) -> CellGeo:
    """CellGeo from its branches, flat. Raises DataError for one that is missing or of another length."""
    missing = [name for name in _GEO_BRANCHES if name not in columns]
    if missing:
        raise DataError(
            f"{where} has no branch {missing[0]}. The branches of MLTree's CellGeo were expected: "
            f"{', '.join(GEOMETRY)} and ten neighbours. Give the cell_geo file of these events."
        )
    n = len(columns["cell_geo_ID"])
    for name in _GEO_BRANCHES:
        if len(columns[name]) != n:
            raise DataError(
                f"{where} has {len(columns[name])} entries of {name} and {n} cells. Equal numbers were expected. "
                f"{REMEDY}."
            )
    fields: dict[str, Any] = {
        field: _typed(columns[branch], dtype, branch, where) for branch, (field, dtype) in GEOMETRY.items()
    }
    neighbours = np.stack([_typed(columns[b], np.int64, b, where) for b in _NEIGHBOUR_BRANCHES], axis=1)  # (G, 10)
    return CellGeo(**fields, neighbours=neighbours)


def _typed(values: np.ndarray, dtype: Any, branch: str, where: str) -> np.ndarray:
    """A branch of CellGeo in its type. Raises DataError for fractions where integers belong: they would be cut off."""
    numbers = np.asarray(values)
    if dtype is np.int64 and numbers.dtype.kind == "f":
        is_whole = (numbers == np.rint(numbers)) & (np.abs(numbers) < 2.0**53)
        if not is_whole.all():
            raise DataError(f"{where}: {branch} holds {numbers[~is_whole][0]}. Integers were expected. {REMEDY}.")
    return numbers.astype(dtype)


def _save(path: Path, content: Mapping[str, Any]) -> None:
    boxed = np.empty((), dtype=object)
    boxed[()] = dict(content)
    with atomic_path(path) as partial, partial.open("wb") as stream:
        np.save(stream, boxed, allow_pickle=True)


def _split(values: Any, counts: np.ndarray) -> list[Any]:
    """Pieces of a list or an array, one per count."""
    ends = np.cumsum(counts).tolist()
    return [values[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)] if ends else []


class _RefusedError(ValueError):
    """What a file must not hold, in words for the user; other errors are those of numpy and pickle."""


def _reason(error: Exception, otherwise: str) -> str:
    return str(error) if isinstance(error, _RefusedError) else otherwise


class _Array:
    """A numpy array of a file, as its bytes (of numbers) or its list (of objects)."""

    __slots__ = ("dtype", "is_fortran", "raw", "shape")

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = (0,)
        self.dtype: np.dtype[Any] | None = np.dtype("f4")
        self.is_fortran = False
        self.raw: Any = b""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, self.is_fortran, self.raw = state
        self.shape = shape
        self.dtype = dtype.dtype
        raw_type = list if self.dtype is None else bytes
        if type(shape) is not tuple or type(self.raw) is not raw_type or not isinstance(dtype, _DType):
            raise _RefusedError("an array in it is damaged")
        n = len(self.raw) if self.dtype is None else len(self.raw) / self.dtype.itemsize
        if math.prod(shape) != n:
            raise _RefusedError("an array in it is cut short")

    def __len__(self) -> int:
        return len(self.raw) if self.dtype is None else self.shape[0]  # IndexError of a scalar: a branch needs rows

    def rows(self) -> Any:
        """Its rows: (n, ...) numbers, or a list of objects."""
        if self.dtype is None:
            if len(self.shape) > 1:
                raise _RefusedError("a table of objects")
            return self.raw
        order: Any = "F" if self.is_fortran else "C"
        return np.frombuffer(self.raw, dtype=self.dtype).reshape(self.shape, order=order)


class _DType:
    """A numpy type of a file: numbers, or objects (None); others raise."""

    __slots__ = ("dtype",)

    def __init__(self, name: str) -> None:
        if name[:1] != "O" and np.dtype(name).kind not in _NUMBERS:
            raise _RefusedError(f"an array in it has the type {name}")
        self.dtype = None if name[:1] == "O" else np.dtype(name)

    def __setstate__(self, state: Any) -> None:
        if self.dtype is None:
            return
        if any(part is not None for part in state[2:5]):
            raise _RefusedError("an array in it has named fields")
        if state[1] in ("<", ">", "="):
            self.dtype = self.dtype.newbyteorder(state[1])


def _make_array(array_type: Any, shape: Any, code: Any) -> _Array:
    return _Array()


def _make_dtype(name: Any, *flags: Any) -> _DType:
    if type(name) is not str:
        raise _RefusedError("a numpy type in it is damaged")
    return _DType(name)


def _make_scalar(dtype: Any, raw: Any) -> float | int:
    if not isinstance(dtype, _DType) or dtype.dtype is None:
        raise _RefusedError("a number in it is damaged")
    value: float | int = np.frombuffer(raw, dtype=dtype.dtype, count=1)[0].item()
    return value


def _make_from_buffer(raw: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    if not isinstance(raw, bytes | bytearray):
        raise _RefusedError("an array in it is damaged")
    array = _Array()
    array.__setstate__((1, shape, dtype, order == "F", bytes(raw)))
    return array


# allowed names in a file -> function of this module that replaces them, so that no code of a file runs
_ALLOWED: Mapping[tuple[str, str], Callable[..., Any] | str] = {
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): _make_dtype,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _make_array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _make_scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _make_from_buffer for core in ("core", "_core")},
}


class _Unpickler(pickle.Unpickler):
    """Rebuilds containers, numbers, strings and arrays of numbers; any other name raises."""

    def find_class(self, module: str, name: str) -> Any:
        """The replacement of a name in the file."""
        if (module, name) not in _ALLOWED:
            raise _RefusedError(f"it names {module}.{name}, which is no array and no container")
        return _ALLOWED[module, name]


def _load(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            _skip_header(stream)
            content = _Unpickler(stream).load()
    except MemoryError:
        raise
    except OSError as error:
        message = error.strerror or "the system cannot read it"
        raise DataError(f"{path} cannot be read: {message}. A readable file was expected. Check --data.") from error
    except Exception as error:  # damaged pickles raise any type of error
        reason = _reason(error, "it is no such file, or it is cut off or damaged")
        raise DataError(
            f"{path} was not opened: {reason}. A .npy file with a dictionary of lists and arrays was expected. Check "
            f"where the file comes from, and fetch or write it again."
        ) from error
    if isinstance(content, _Array):
        content = content.raw[0] if content.dtype is None and len(content.raw) == 1 else content
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise DataError(
            f"{path} holds no dictionary of branches. A .npy file with one was expected. Check which file it is."
        )
    return content


def _skip_header(stream: BinaryIO) -> None:
    """Read a .npy header of version 1, 2 or 3 up to the pickle after it."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, _, dtype = read(stream)
    except Exception as error:  # numpy parses headers as Python: any type of error
        raise ValueError("its header is damaged") from error
    if dtype.kind != "O" or shape != ():
        raise _RefusedError(f"it is an array of {dtype} of shape {shape}")


def _read_jagged(node: Any, depth: int) -> Jagged:
    """A branch of the given depth, level by level."""
    nodes: Any = _rows(node)
    if depth == 0:
        return Jagged(_numbers(nodes))
    counts: list[np.ndarray] = []
    for level in range(1, depth):
        counts.append(_lengths(nodes))
        if level == 2 and (table := _common_tables(nodes)) is not None:
            width, values = table
            return Jagged(values, (*counts, np.full(len(values) // width, width, dtype=np.int64)))
        nodes = list(chain.from_iterable(map(_rows, nodes)))
    return Jagged(_concatenate(nodes), (*counts, _lengths(nodes)))


def _lengths(nodes: Any) -> np.ndarray:
    return np.fromiter(map(len, nodes), np.int64, len(nodes))


def _common_tables(nodes: Sequence[Any]) -> tuple[int, np.ndarray] | None:
    """Width and (n,) numbers of clusters that are all (cells, width) tables; None where any is not."""
    if not all(type(n) is _Array and n.dtype is not None and len(n.shape) == 2 for n in nodes) or not len(nodes):
        return None
    widths = {n.shape[1] for n in nodes}
    if len(widths) > 1 or 0 in widths:
        return None
    return widths.pop(), _concatenate(nodes)


def _rows(node: Any) -> Any:
    if type(node) is list or type(node) is tuple:
        return node
    if type(node) is _Array:
        return node.rows()
    if isinstance(node, np.ndarray):
        return node
    raise _RefusedError(f"a {type(node).__name__} in place of a list")


def _concatenate(nodes: Sequence[Any]) -> np.ndarray:
    """(n,) the numbers of lists or arrays, one after the other."""
    node_types = set(map(type, nodes))
    if node_types <= {list, tuple}:
        return _numbers(list(chain.from_iterable(nodes)))
    if node_types == {_Array} and len(types := {(n.dtype, n.is_fortran and len(n.shape) > 1) for n in nodes}) == 1:
        dtype, is_fortran = types.pop()
        if dtype is not None and not is_fortran:
            return np.frombuffer(b"".join([n.raw for n in nodes]), dtype=dtype)
    return np.concatenate([np.asarray(_numbers(_rows(n))).ravel() for n in nodes])


def _numbers(values: Any) -> np.ndarray:
    if not len(values):
        return np.zeros(0)
    array = np.asarray(values)
    if array.dtype.kind not in _NUMBERS or array.ndim == 0:
        raise _RefusedError("something in it is no number")
    return array.ravel()


def _flatten_column(node: Any, path: Path, name: str) -> np.ndarray:
    """A column of the geometry: [column] or the column itself."""
    try:
        rows = _rows(node)
        return _concatenate([rows[0]]) if len(rows) == 1 and not np.isscalar(rows[0]) else _numbers(rows)
    except (TypeError, ValueError, IndexError) as error:
        problem = f"{path}: {name} is damaged ({_reason(error, 'something in it is no number')})"
        raise DataError(f"{problem}. A list of numbers was expected. {REMEDY}.") from error
